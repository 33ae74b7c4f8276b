"""Every public method and property of PyMongo 2.4, 2.6, 2.8 and 3.13, and what becomes of it.

TODAY: PyMongo 4 has it. ANSWERED: migopy answers. REFUSED: a sentence says what to write. UNKNOWN: neither.
The client is MongoClient, MongoReplicaSetClient and Connection together.
"""

from __future__ import annotations

OPTIONS = """
    get_lasterror_options safe secondary_acceptable_latency_ms set_lasterror_options slave_okay tag_sets
    unset_lasterror_options uuid_subtype
"""

ANSWERED = {
    "database": OPTIONS
    + """
        add_user collection_names connection error last_status previous_error remove_user reset_error_history system_js
    """,
    "collection": OPTIONS
    + """
        count ensure_index find_and_modify initialize_ordered_bulk_op initialize_unordered_bulk_op inline_map_reduce
        insert map_reduce parallel_scan reindex remove save update
    """,
    "cursor": "count",
    "client": OPTIONS
    + """
        alive auto_start_request close database_names disconnect document_class end_request event_listeners fsync
        get_document_class host hosts in_request is_locked local_threshold_ms max_bson_size max_idle_time_ms
        max_message_size max_pool_size max_wire_version max_write_batch_size min_pool_size min_wire_version port refresh
        retry_reads retry_writes seeds server_selection_timeout set_document_class start_request tz_aware unlock
        use_greenlets
    """,
}

REFUSED = {
    "database": """
        add_son_manipulator authenticate current_op eval incoming_copying_manipulators incoming_manipulators logout
        outgoing_copying_manipulators outgoing_manipulators profiling_info profiling_level set_profiling_level
    """,
    "collection": "group",
    "cursor": "conn_id max_scan",
    "client": "close_cursor copy_database kill_cursors set_cursor_manager",
}

TODAY = {
    "database": """
        aggregate client codec_options command create_collection dereference drop_collection get_collection
        list_collection_names list_collections name next read_concern read_preference validate_collection watch
        with_options write_concern
    """,
    "collection": """
        aggregate aggregate_raw_batches bulk_write codec_options count_documents create_index create_indexes database
        delete_many delete_one distinct drop drop_index drop_indexes estimated_document_count find find_one
        find_one_and_delete find_one_and_replace find_one_and_update find_raw_batches full_name index_information
        insert_many insert_one list_indexes name next options read_concern read_preference rename replace_one
        update_many update_one watch with_options write_concern
    """,
    "cursor": """
        add_option address alive allow_disk_use batch_size clone close collation collection comment cursor_id distinct
        explain hint limit max max_await_time_ms max_time_ms min next remove_option retrieved rewind session skip sort
        where
    """,
    "client": """
        HOST PORT address arbiters codec_options drop_database get_database get_default_database is_mongos is_primary
        list_database_names list_databases next nodes options primary read_concern read_preference secondaries
        server_info start_session topology_description watch write_concern
    """,
}

UNKNOWN: dict[str, str] = {"database": "", "collection": "", "cursor": "", "client": ""}
