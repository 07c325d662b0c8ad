"""The real Triton server, started from the wheel nvidia-pytriton: its command line, environment and backend folder."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import sys
import sysconfig
from pathlib import Path

from streams.base.errors import ConfigurationError

HOST = "127.0.0.1"
KEY_HEADER = "interests-key"
"""The HTTP header that carries `http_key`."""
_CONTROL = "shared-memory,model-repository,trace,logging"
_ALL_BUT_HEALTH = f"{_CONTROL},metadata,inference,model-config,statistics"


def triton_process(
    repo: Path,
    *,
    work: Path,
    grpc_port: int,
    host: str = HOST,
    http_port: int | None = None,
    http_key: str | None = None,
    metrics_port: int | None = None,
    extra_env: dict[str, str] | None = None,
    tls: tuple[Path, Path] | None = None,
    tls_ca: Path | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The command and the whole environment that serve a model repository on `host`.

    `work` is a folder of this server's own: the Python backend is laid out in it. HTTP and metrics are off without a
    port. `tls` names the PEM files of certificate and key for gRPC; with `tls_ca` clients must bring a certificate
    signed by it. The models' Python finds what this interpreter finds.

    Shared memory, the repository of models, traces and the log's settings are shut on both ports: nobody here needs
    them, and most of what is known against this version came in by them. With `http_key` HTTP answers nothing but its
    health without it, so that no web page uses it. Raises ConfigurationError where the wheel is
    missing or has no stub for this Python.
    """
    wheel = _wheel()
    backends = lay_out_backend(wheel, work / "backends")
    argv = [
        str(wheel / "bin" / "tritonserver"),
        f"--model-repository={repo.resolve()}",
        f"--backend-directory={backends}",
        "--model-control-mode=none",
        "--strict-readiness=true",
        "--exit-timeout-secs=10",
        "--disable-auto-complete-config",
        "--allow-gpu-metrics=false",
        "--allow-cpu-metrics=false",
        f"--grpc-address={host}",
        f"--grpc-port={grpc_port}",
        # The key is made up and forgotten.
        f"--grpc-restricted-protocol={_CONTROL}:{KEY_HEADER}={secrets.token_hex(16)}",
    ]
    argv += _tls_options(tls, tls_ca)
    if http_port is None:
        argv.append("--allow-http=false")
    else:
        apis = f"{_CONTROL}:{KEY_HEADER}={secrets.token_hex(16)}"
        if http_key is not None:
            apis = f"{_ALL_BUT_HEALTH}:{KEY_HEADER}={http_key}"
        argv += [f"--http-address={host}", f"--http-port={http_port}", f"--http-restricted-api={apis}"]
    if metrics_port is None:
        argv.append("--allow-metrics=false")
    else:
        argv += [f"--metrics-address={host}", f"--metrics-port={metrics_port}"]
    return argv, _environment(wheel, extra_env or {})


def _tls_options(tls: tuple[Path, Path] | None, authority: Path | None) -> list[str]:
    if tls is None:
        return []
    options = ["--grpc-use-ssl=true", f"--grpc-server-cert={tls[0]}", f"--grpc-server-key={tls[1]}"]
    if authority is not None:
        options += ["--grpc-use-ssl-mutual=true", f"--grpc-root-cert={authority}"]
    return options


def lay_out_backend(wheel: Path, target: Path) -> Path:
    """A backend directory with the stub of this Python version beside the Python backend. Links, a few kilobytes."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        have = sorted(path.name for path in (wheel / "python_backend_stubs").iterdir())
        raise ConfigurationError(f"nvidia-pytriton has no stub for Python {version}, only for {', '.join(have)}")
    folder = target / "python"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for source in (wheel / "backends" / "python").iterdir():
        if source.is_file():
            (folder / source.name).symlink_to(source)
    (folder / stub.name).symlink_to(stub)
    return target


def _wheel() -> Path:
    spec = importlib.util.find_spec("pytriton")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "tritonserver"
        if (path / "bin" / "tritonserver").is_file():
            return path
    if sys.version_info >= (3, 13):
        raise ConfigurationError(
            "the embedded Triton comes in a wheel that needs numpy 1, which has no build for Python 3.13: run the "
            "embedded stack on Python 3.11 or 3.12; worker, API and learner run here beside a Triton of your own"
        )
    raise ConfigurationError("the Triton server is missing: pip install 'interest-streams[embedded,encoder]'")


def _environment(wheel: Path, extra: dict[str, str]) -> dict[str, str]:
    site = wheel.parent.parent
    libraries = [str(site / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR") or "")]
    root = Path(__file__).resolve().parents[2]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {
        **inherited,
        # Triton's Python takes its packages from the first `python3` on PATH.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join([*filter(None, libraries), os.environ.get("LD_LIBRARY_PATH", "")]).rstrip(
            ":"
        ),
        "PYTHONPATH": os.pathsep.join([str(site), str(root)]),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
        **extra,
    }
