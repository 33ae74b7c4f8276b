from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tests.support import TOP

OTHER_FABRIC = "__version__ = '3.2.2'\n\n\nclass Connection:\n    pass\n"


class TestAnotherFabric(unittest.TestCase):
    def imported(self, fabric: str) -> str:
        """The last line of what `import migopy` says where that stands in the place of Fabric."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "fabric").mkdir()
            Path(folder, "fabric", "__init__.py").write_text(fabric)
            path = os.pathsep.join([folder, str(TOP)])
            command = [sys.executable, "-c", "import migopy"]
            done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, text=True)
        self.assertEqual(1, done.returncode)
        return done.stderr.splitlines()[-1]

    def test_fabric_2_and_3_are_told_with_what_to_uninstall_and_install(self) -> None:
        package = "fab-classic" if sys.version_info >= (3, 10) else "fabric3"
        self.assertEqual(
            "ImportError: migopy needs Fabric 1.x, but this is Fabric 3.2.2. Run pip uninstall fabric fabric2, then"
            f" pip install --force-reinstall {package}.",
            self.imported(OTHER_FABRIC),
        )

    def test_one_that_cannot_be_imported_is_told_with_the_reason(self) -> None:
        sentence = self.imported("import nothing_of_that_name\n")
        self.assertIn("it cannot be imported here (No module named 'nothing_of_that_name')", sentence)
