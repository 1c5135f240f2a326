import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from pbsbatch_kernels import jit

pytestmark = pytest.mark.compiled

ROOT = Path(__file__).resolve().parents[2]
CALLEE = "from pbsbatch_kernels.jit import kernel\n@kernel\ndef step(x: int) -> int:\n    return x + {}\n"
CALLER = (
    "from callee import step\nfrom pbsbatch_kernels.jit import kernel\n@kernel\ndef far(x):\n    return step(x) * 10\n"
)
ASK = "import caller; from pbsbatch_kernels.jit import tally; print(caller.far(1), *tally())"


@pytest.fixture
def ask(tmp_path: Path):
    """Return a function that runs code in a new process, with two small kernels and a cache folder of its own."""
    (tmp_path / "callee.py").write_text(CALLEE.format(1))
    (tmp_path / "caller.py").write_text(CALLER)

    def run(code: str = ASK, **environment: str) -> str:
        path = os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "kernels")])
        named = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | named | environment, capture_output=True, text=True,
            cwd=tmp_path, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_a_machine_compiles_once_and_anew_where_a_called_kernel_changed(ask, tmp_path: Path) -> None:
    assert ask() == "20 0 2"
    assert ask() == "20 1 0"  # the caller's code holds the callee's
    (tmp_path / "callee.py").write_text(CALLEE.format(5))
    assert ask() == "60 0 2"


def test_a_file_cut_short_is_compiled_again(ask, tmp_path: Path) -> None:
    assert ask() == "20 0 2"
    for kept in (tmp_path / "cache").rglob("*.nbc"):
        kept.write_bytes(kept.read_bytes()[:100])
    for kept in (tmp_path / "cache").rglob("callee*/**/*.nbi"):
        kept.write_bytes(b"")
    assert ask() == "20 0 2"
    assert ask() == "20 1 0"


def test_without_a_home_code_is_kept_in_a_temporary_folder_of_the_users_own(ask, tmp_path: Path) -> None:
    nowhere = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": "", "HOME": "/proc/nowhere", "TMPDIR": str(tmp_path)}
    assert [ask(**nowhere), ask(**nowhere)] == ["20 0 2", "20 1 0"]
    (folder,) = tmp_path.glob("pbsbatch-*")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_where_nothing_can_be_written_kernels_work_uncached(ask) -> None:
    deaf = "from pbsbatch_kernels import jit; jit._roots = lambda: iter([jit.Path('/proc/nowhere')]); "
    assert [ask(deaf + ASK), ask(deaf + ASK)] == ["20 0 2", "20 0 2"]


def test_a_full_disk_costs_no_result(ask) -> None:
    full = (
        "import errno; from numba.core import caching\n"
        "def full(*_): raise OSError(errno.ENOSPC, 'full')\n"
        "caching.IndexDataCacheFile.save = full\n"
    )
    assert ask(full + ASK) == "20 0 2"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(jit, "_roots", lambda: iter([tmp_path / "root"]))
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("mode", "safe"), [(0o700, True), (0o755, True), (0o777, False), (0o1777, True), (0o770, False)]
)
def test_a_folder_that_others_can_swap_is_not_used(tmp_path: Path, root: Path, mode: int, safe: bool) -> None:
    tmp_path.chmod(mode)
    assert (jit.cache_folder("name", "1") == root / "name-1") is safe
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o1777])
def test_a_folder_that_others_can_write_to_is_not_used(root: Path, mode: int) -> None:
    assert jit.cache_folder("name", "1") == root / "name-1"
    (root / "name-1").chmod(mode)
    assert jit.cache_folder("name", "1") is None


def test_a_folder_that_another_user_made_first_is_not_used(root: Path) -> None:
    assert jit.cache_folder("name", "1") == root / "name-1"
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(root / "name-1", 12345, 12345)
    assert jit.cache_folder("name", "1") is None


def test_only_the_last_states_of_a_file_are_kept(root: Path) -> None:
    for k in range(6):
        folder = jit.cache_folder("name", str(k))
        assert folder is not None
        os.utime(folder, (k, k))
    jit.cache_folder("other", "0")
    assert sorted(f.name for f in root.iterdir()) == ["name-3", "name-4", "name-5", "other-0"]


def test_the_setting_of_numba_is_left_alone() -> None:
    before = numba.config.CACHE_DIR

    @jit.kernel
    def nothing(x: int) -> int:
        return x

    assert nothing(3) == 3
    assert before == numba.config.CACHE_DIR


def test_a_division_by_zero_is_an_error_unless_said_otherwise() -> None:
    @jit.kernel_ieee
    def quiet(x: float) -> float:
        return 1.0 / x

    @jit.kernel
    def strict(x: float) -> float:
        return 1.0 / x

    assert quiet(0.0) == float("inf")
    with pytest.raises(ZeroDivisionError):
        strict(0.0)


def test_every_kernel_is_compiled_by_the_one_decorator() -> None:
    bare = [
        str(path.relative_to(ROOT))
        for package in ("kernels/pbsbatch_kernels", "pbsbatch")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "jit.py" and "njit" in path.read_text(encoding="utf-8")
    ]
    assert bare == []
