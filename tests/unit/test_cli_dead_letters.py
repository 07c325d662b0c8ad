"""`interests dead-letters keys`: a pair of files, never one over the other."""

from __future__ import annotations

from pathlib import Path

from streams.settings.privacy import private_key
from tests.unit.test_cli import call


def test_keys_are_written_into_two_files_that_were_not_there(tmp_path: Path) -> None:
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    assert call("dead-letters", "keys", str(private), str(public)).exit_code == 0
    assert private_key(private)
    assert private.stat().st_mode & 0o777 == 0o600
    assert b"PUBLIC" in public.read_bytes()
    again = call("dead-letters", "keys", str(private), str(tmp_path / "other.pem"))
    assert (again.exit_code, "exists" in again.stderr) == (2, True)


def test_one_file_for_both_keys_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    result = call("dead-letters", "keys", str(file), str(tmp_path / "x" / ".." / "key.pem"))
    assert (result.exit_code, "expected two files" in result.stderr) == (2, True)
    assert not file.exists()
