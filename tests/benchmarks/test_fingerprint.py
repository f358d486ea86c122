import json

import pytest

from benchmarks import fingerprint as module
from benchmarks.fingerprint import Fingerprint, fingerprint

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2 GHz
flags\t\t: fpu avx2 avx512_vnni sse2 fma

processor\t: 1
model name\t: Another
"""


def test_fingerprint_reads_the_first_processor(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO)
    found = fingerprint(path)
    assert found.cpu == "Some CPU @ 2 GHz"
    assert found.flags == ("avx2", "avx512_vnni", "fma")
    assert found.cores >= 1
    assert found.virtual is False
    json.dumps(found.to_json(), allow_nan=False)


def test_fingerprint_of_a_system_that_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.delattr(module.os, "sysconf")
    monkeypatch.delattr(module.os, "sched_getaffinity")
    monkeypatch.setattr(module.platform, "processor", lambda: "")
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    found = fingerprint(tmp_path / "none")
    assert isinstance(found, Fingerprint)
    assert (found.cpu, found.flags, found.memory_bytes, found.gpu, found.virtual) == ("unknown", (), None, None, None)


def test_the_gpu_is_what_nvidia_smi_says(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA RTX 4090, 570.12'\necho 'NVIDIA RTX 3090, 570.12'\n")
    program.chmod(0o755)
    monkeypatch.setattr(module.shutil, "which", lambda name: str(program))
    assert (fingerprint().gpu, fingerprint().driver) == ("NVIDIA RTX 4090", "570.12")
    program.write_text("#!/bin/sh\nexit 9\n")
    assert fingerprint().gpu is None


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "what is this\n"}, None),
        ({}, None),
    ],
)
def test_the_containers_limit(tmp_path, files, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert fingerprint(groups=tmp_path).cpu_limit == limit
