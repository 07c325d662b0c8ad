"""A Triton with the text encoder and a small model of interests beside it: one for all faults, started when asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.fixtures.learned_path import MODEL, repository
from tests.fixtures.triton import ROOT, TritonServer


class InterestModels:
    """A server of its own, since faults end it, and two versions of its model, made when they are first served."""

    def __init__(self, work: Path) -> None:
        self._work, self._version = work, 1
        self._server: TritonServer | None = None

    def started(self) -> TritonServer:
        """The server, which runs."""
        if self._server is None:
            self._export()
            self._server = TritonServer(self._work / "repo", self._work / "triton")
            self._server.start()
        return self._server

    def crash(self) -> None:
        """SIGKILL the process of the model of interests; texts are encoded as before, and it stays away."""
        assert self.started().crash_model(MODEL) == 1

    def restart(self) -> None:
        """SIGKILL the server, and start it again."""
        server = self.started()
        server.kill()
        server.start()

    def swap(self) -> str:
        """The other version in place of the one that is served, by a restart; its id."""
        self._version = 3 - self._version
        model_id = self._export()
        self.restart()
        return model_id

    def stop(self) -> None:
        """End the server, where it was started."""
        if self._server is not None:
            self._server.stop()

    def _export(self) -> str:
        """Put the version into the repository; its id. In a process of its own: OpenVINO forks, which gRPC forbids."""
        command = [sys.executable, "-m", "tests.fault.models", str(self._work), str(self._version)]
        self._work.mkdir(parents=True, exist_ok=True)
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout.split()[-1]


if __name__ == "__main__":
    print(repository(Path(sys.argv[1]), int(sys.argv[2]))[1])
