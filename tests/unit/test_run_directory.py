"""Temporary files of a run of the tests are in one directory, which goes with the run, also if the run was killed."""

import os
import tempfile
from pathlib import Path

from tests.support.run_directory import run_directory


def test_the_directory_of_a_run_has_all_temporary_files_and_is_removed() -> None:
    before = tempfile.gettempdir()
    with run_directory() as directory:
        assert Path(tempfile.mkdtemp()).parent == directory
        assert os.environ["TMPDIR"] == str(directory)
    assert not directory.exists()
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == before


def test_the_directory_of_a_killed_run_is_removed_and_that_of_a_living_run_is_kept() -> None:
    with run_directory() as living:
        left = living.with_name(f"{living.name}-killed")
        (left / "files").mkdir(parents=True)
        (left / "lock").touch()
        with run_directory():
            assert not left.exists()
            assert living.exists()
