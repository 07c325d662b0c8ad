"""A Triton with the text encoder and a small model of interests beside it: one for all faults, started when asked."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.learned_path import MODEL, repository
from tests.fixtures.triton import TritonServer


class InterestModels:
    """A server of its own, since faults end it, and two versions of its model, made when they are first served."""

    def __init__(self, work: Path) -> None:
        self._work, self._version = work, 1
        self._server: TritonServer | None = None

    def started(self) -> TritonServer:
        """The server, which runs."""
        if self._server is None:
            repo, _ = repository(self._work, self._version)
            self._server = TritonServer(repo, self._work / "triton")
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
        _, model_id = repository(self._work, self._version)
        self.restart()
        return model_id

    def stop(self) -> None:
        """End the server, where it was started."""
        if self._server is not None:
            self._server.stop()
