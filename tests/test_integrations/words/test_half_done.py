"""What is said of a migration that did not end well: what stays of it, and how it is taken back."""

from __future__ import annotations

from tests.cases import InProcessTestCase
from tests.server import Server, shared_replica_set

VERIFY = """
def up(db):
    db.ran.insert_one({"name": "1_a.py"})


def verify(db):
    assert db.users.find_one(), "users are gone"
"""


class TestHalfDone(InProcessTestCase):
    def failed(self, *options: str) -> str:
        """The last line of a subtask that fails."""
        result = self.run_task(*options)
        self.assertEqual(1, result.code, result.stderr)
        return result.stderr.splitlines()[-1]

    def test_what_up_had_changed_stays_and_can_be_taken_back(self) -> None:
        self.counting(self.team, "1_a.py", "1 / 0", down="db.ran.delete_many({})")
        self.assertRegex(
            self.failed("execute"),
            r"not registered\. What it had changed stays\. Fix it, then fab migrations:execute runs it again\.$",
        )
        self.assertEqual(["1_a.py"], self.ran())
        self.assertEqual(
            "1_a.py is not registered. Nothing was done. It failed. To take back what it did before that, run its"
            " down(): fab migrations:ignore,1_a.py (it counts as done), then fab migrations:rollback,1_a.py.",
            self.failed("rollback", "1"),
        )
        self.assertEqual([0, 0], [self.run_task("ignore", "1").code, self.run_task("rollback", "1").code])
        self.assertEqual(([], []), (self.ran(), self.registered()))

    def test_what_a_failed_verify_leaves(self) -> None:
        self.team.write("mongomigrations/1_a.py", VERIFY)
        self.assertRegex(
            self.failed("execute"),
            r"^1_a\.py failed \(line 7, verify\(\), AssertionError: users are gone\): it is not registered\. What"
            r" up\(\) changed stays\. Check the data, then fab migrations:execute runs up\(\) again\.$",
        )
        self.assertEqual(["1_a.py"], self.ran())
        self.assertRegex(
            self.run_task().stderr,
            r"1_a\.py: verify\(\) failed on .* \(AssertionError: users are gone\); what up\(\) changed stays; check the"
            r" data, then fab migrations:execute runs up\(\) again\n$",
        )

    def test_a_verify_that_returns_false_fails(self) -> None:
        body = "return db.users.find_one() is not None\n"
        self.team.write("mongomigrations/1_a.py", f"{VERIFY.partition('assert')[0]}{body}")
        self.assertEqual(
            "1_a.py failed (verify(), NotVerified: verify() returned False): it is not registered. What up() changed"
            " stays. Check the data, then fab migrations:execute runs up() again.",
            self.failed("execute"),
        )
        self.assertEqual(([], ["1_a.py"]), (self.registered(), self.ran()))
        self.db.users.insert_one({})
        self.assertEqual(0, self.run_task("execute").code)
        self.assertEqual(["1_a.py"], self.registered())

    def test_a_hook_that_fails_leaves_nothing(self) -> None:
        self.counting(self.team, "1_a.py")
        result = self.run_task("execute", of=self.manager(before_each=lambda manager, name: 1 / 0))
        self.assertRegex(result.stderr, r"it is not registered\. up\(\) did not run\.\n$")
        self.assertEqual([], self.ran())
        self.assertRegex(
            self.run_task().stderr,
            r"1_a\.py: before_each\(\) failed on .* \(ZeroDivisionError: .*\); it had not begun; fix it, then fab ",
        )

    def test_what_down_had_changed_stays(self) -> None:
        self.counting(self.team, "1_a.py", down="db.ran.delete_many({})\n1 / 0")
        self.run_task("execute")
        self.assertRegex(
            self.failed("rollback", "1"),
            r"it stays registered\. What it had changed stays\. Fix it, then fab migrations:rollback,1_a\.py runs",
        )
        self.assertEqual(([], ["1_a.py"]), (self.ran(), self.registered()))


class TestInATransaction(TestHalfDone):
    def find_server(self) -> Server:
        return shared_replica_set()

    def test_nothing_stays(self) -> None:
        self.counting(self.team, "1_a.py", "1 / 0", "db, session")
        self.assertRegex(
            self.failed("execute"),
            r"not registered\. Nothing of it stays: its transaction was undone\. Fix it, then fab migrations:exec",
        )
        self.assertEqual([], self.ran())
        self.assertIn(
            "; nothing of it stays, its transaction was undone; fix it, then ", self.run_task("show_status").stderr
        )
        self.assertRegex(self.failed("rollback", "1"), r"not registered\..* Nothing of it stays: its trans")
