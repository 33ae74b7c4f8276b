def up(db):
    db.settings.save({'_id': 'site', 'title': 'Notes', 'per_page': 20})
    db.settings.save({'_id': 'mail', 'from': 'noreply@example.com'})
    db.settings.save({'_id': 'site', 'title': 'Our notes', 'per_page': 25})


def down(db):
    db.settings.remove('site')
    db.settings.remove('mail')
