"""The machine of a record, in words; nothing in it names the machine."""

import datetime
import json
import pathlib
import platform
import subprocess


def command(*arguments: str) -> str | None:
    try:
        return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def describe() -> dict:
    fields = {f["field"].rstrip(":"): f["data"] for f in json.loads(command("lscpu", "-J") or '{"lscpu": []}')["lscpu"]}
    flags = fields.get("Flags", "").split()
    memory = pathlib.Path("/proc/meminfo").read_text().split()[1]
    here = str(pathlib.Path(__file__).resolve().parent)
    return {
        "cpu": fields.get("Model name"),
        "family": fields.get("CPU family"),
        "model": fields.get("Model"),
        "cores": int(fields.get("CPU(s)", 0)),
        "hypervisor": fields.get("Hypervisor vendor"),
        "caches": {k.removesuffix(" cache"): v for k, v in fields.items() if k.endswith(" cache")},
        "instructions": [f for f in flags if f.startswith(("avx", "amx", "fma"))],
        "memory_gib": round(int(memory) / 2**20, 1),
        "os": f"{platform.freedesktop_os_release().get('PRETTY_NAME')}, kernel {platform.release()}",
        "compiler": command("rustc", "--version"),
        "python": platform.python_version(),
        "commit": command("git", "-C", here, "rev-parse", "--short", "HEAD"),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
