"""Where a run is trained: process, device, data set, precision, environment and memory."""

from __future__ import annotations

import ctypes
import os
import platform
import random
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mmad.base import clock
from mmad.base.errors import DataError, SpecError
from mmad.base.formatting import short_key
from mmad.base.paths import command_line
from mmad.base.records import EnvironmentRecord
from mmad.config.named_parts import is_own
from mmad.config.runs import RunSpec
from mmad.config.setup import ModelSetup
from mmad.data.dataset import DataSet
from mmad.data.reader import load_dataset
from mmad.data.samples import samples
from mmad.detector.cost import detector_cost

ModuleT = TypeVar("ModuleT", bound=nn.Module)
#: Packages whose version can change a result.
DECIDING_PACKAGES = ("mmad", "torch", "torchvision", "timm", "numpy", "pillow", "pycocotools")


#: What CUDA and its libraries read when they begin: GPUs count as nvidia-smi counts, and cuBLAS repeats its sums.
_CUDA_VARIABLES = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


@dataclass(frozen=True)
class _Flags:
    """What torch asks of its kernels, for the whole process."""

    deterministic: bool
    warn_only: bool
    fill: bool
    cudnn_deterministic: bool
    cudnn_benchmark: bool
    conv_precision: str
    matmul_precision: str

    @classmethod
    def now(cls) -> _Flags:
        return cls(
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            *_single_precision(),
        )

    def set(self) -> None:
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = self.fill  # type: ignore[attr-defined]
        torch.backends.cudnn.deterministic = self.cudnn_deterministic
        torch.backends.cudnn.benchmark = self.cudnn_benchmark
        _set_single_precision(self.conv_precision, self.matmul_precision)


def _single_precision() -> tuple[str, str]:
    """How convolutions and matrix products compute single precision: ``ieee`` or ``tf32`` (or PyTorch's ``none``)."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # since PyTorch 2.9, where the switches below warn
        return cudnn.conv.fp32_precision, matmul.fp32_precision  # type: ignore[attr-defined]
    return "tf32" if cudnn.allow_tf32 else "ieee", "tf32" if matmul.allow_tf32 else "ieee"


def _set_single_precision(conv: str, products: str) -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):
        cudnn.conv.fp32_precision, matmul.fp32_precision = conv, products  # type: ignore[attr-defined]
    else:
        cudnn.allow_tf32, matmul.allow_tf32 = conv == "tf32", products == "tf32"


#: Numbers of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4


def _allocate(values: Mapping[int, int]) -> bool:
    """Ask glibc's allocator for ``values``; whether this process has it, and nobody set it by the environment."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    return all(mallopt(number, value) for number, value in values.items())


def _keep_freed_memory() -> None:
    """Let the next tensors have what was freed: else each of more than 32 MiB is mapped, zeroed and unmapped anew."""
    _allocate({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1})


def _return_freed_memory() -> None:
    """Give the system what is free, and allocate as glibc does in a process that held large tensors before."""
    if _allocate({_M_MMAP_MAX: 65536, _M_MMAP_THRESHOLD: 32 * 2**20, _M_TRIM_THRESHOLD: 64 * 2**20}):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def settings_restored() -> Iterator[None]:
    """Leaves torch's kernels and threads afterwards as they were: another library of the process may rely on them.

    Memory that ``prepare_process`` let the process keep is given back.
    """
    flags, threads = _Flags.now(), torch.get_num_threads()
    try:
        yield
    finally:
        flags.set()
        torch.set_num_threads(threads)
        _return_freed_memory()


def prepare_process(threads: int, seed: int, device: torch.device, *, tf32: bool = False) -> None:
    """Seed every generator, and say for every kernel how it computes, whatever the process did before.

    On the CPU the number of threads is fixed, every kernel deterministic, and freed memory kept. On a GPU cuDNN is; the
    gradient of RoIAlign and a few others add in the order in which the GPU's threads come, so that equal runs agree to
    about 1e-4.

    Args:
        threads: of the CPU.
        seed: of every generator.
        device: where the model computes.
        tf32: compute single precision in TensorFloat-32 where the GPU can.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - whatever a library draws from it must repeat too
    torch.manual_seed(seed)
    on_cpu, precision = device.type == "cpu", "tf32" if tf32 else "ieee"
    if on_cpu:
        torch.set_num_threads(threads)
        _keep_freed_memory()
    _Flags(
        deterministic=on_cpu,  # on a GPU torchvision's RoIAlign would be one that is slow, and other kernels missing
        warn_only=False,
        fill=False,  # no kernel here reads what it did not write
        cudnn_deterministic=True,
        cudnn_benchmark=False,
        conv_precision=precision,
        matmul_precision=precision,
    ).set()


def open_device(name: str) -> torch.device:
    """The device called ``name``, which has to be there.

    Raises:
        SpecError: another word than ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; a GPU that this machine does not have.
    """
    if re.fullmatch(r"cpu|mps|cuda(:\d+)?", name) is None:
        raise SpecError(f"no device is called {name!r}", hint="name cpu, cuda, cuda:N or mps")
    device = torch.device(name)
    if device.type == "cpu":
        return device
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise SpecError("device mps: PyTorch finds no Apple GPU here", hint="name cpu, or cuda")
        return device
    for variable, value in _CUDA_VARIABLES.items():
        os.environ.setdefault(variable, value)
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        raise SpecError(f"device {name}: PyTorch finds no GPU here", hint="look at nvidia-smi or rocm-smi, or name cpu")
    if (device.index or 0) >= found:
        has = "cuda:0 alone" if found == 1 else f"cuda:0 to cuda:{found - 1}"
        raise SpecError(f"device {name}: this machine has {has}", hint="name one of these")
    torch.cuda.set_device(device)  # else a process on cuda:1 holds a context on cuda:0 too
    return device


#: Devices that hand numbers over beside what they compute.
_COPY_BESIDE = {"cuda"}


def fetched(values: Tensor) -> Callable[[], list[float]]:
    """``values`` (n,), which begin now to come from their device; the call that reads them waits for no later work."""
    if values.device.type not in _COPY_BESIDE:
        return lambda: list(values.tolist())
    copy = values.to("cpu", non_blocking=True)
    here = torch.cuda.Event()  # type: ignore[no-untyped-call]
    here.record()

    def read() -> list[float]:
        here.synchronize()
        return list(copy.tolist())

    return read


#: The smallest ``image_size`` that channels last makes faster on a CPU, with one map; a pyramid it makes slower.
_CHANNELS_LAST_SIDE = 128


def channels_last(setup: ModelSetup, device: torch.device) -> bool:
    """Whether a run that begins on ``device`` keeps the channels of a cell side by side: by its setup, else if faster.

    A part of the user's own that reads maps may rely on rows, as ``view`` does, so that with one it is asked for alone.
    Once begun it keeps its layout on every device, for another one rounds otherwise: see ``begun_layout``.
    """
    if setup.channels_last is not None:
        return setup.channels_last
    own = is_own(setup.backbone) or is_own(setup.fusion)
    return device.type == "cpu" and setup.image_size >= _CHANNELS_LAST_SIDE and not setup.has_pyramid and not own


def in_layout(model: ModuleT, last: bool) -> ModuleT:
    """``model`` with its weights in the layout, with ``last`` that of channels last; its maps follow.

    A part of the user's own may have weights of other dimensions, which have no such layout.
    """
    form = torch.channels_last if last else torch.contiguous_format
    for values in chain(model.parameters(), model.buffers()):
        if values.dim() == 4:
            values.data = values.data.to(memory_format=form)
    return model


def layout_facts(model: nn.Module) -> dict[str, Any]:
    """What a checkpoint of ``model`` says of its layout; nothing of one with row after row."""
    maps = (weights for weights in model.parameters() if weights.dim() == 4 and not weights.is_contiguous())
    last = any(weights.is_contiguous(memory_format=torch.channels_last) for weights in maps)
    return {"channels_last": True} if last else {}


def begun_layout(setup: ModelSetup, facts: Mapping[str, Any]) -> bool:
    """Whether a run with a checkpoint of these ``facts`` keeps the channels of a cell side by side."""
    return bool(facts.get("channels_last")) if setup.channels_last is None else setup.channels_last


def open_dataset(spec: RunSpec, path: Path) -> DataSet:
    """The data set at ``path`` as the setup's ``dataset_mode`` asks for it, with the splits of the run's fold.

    Raises:
        DataError: when it is not the one that ``spec`` was queued for, or has no such samples.
    """
    dataset = load_dataset(path)
    fingerprint = dataset.fingerprint(anew=True)
    if spec.data.fingerprint is not None and fingerprint != spec.data.fingerprint:
        raise DataError(
            f"the data set changed: the run was queued for {short_key(spec.data.fingerprint)}, the folder now holds "
            f"{short_key(fingerprint)}",
            where=path,
            hint="restore the folder, or run the ablation again to queue new runs for the changed data",
        )
    return samples(dataset, spec.setup.dataset_mode, spec.protocol.fold)


# Precision.


def require_device(mixed_precision: bool, device: torch.device, *, bf16: bool = False) -> None:
    """Refuse half precision, or bfloat16, where it would only be slow.

    Raises:
        SpecError: ``mixed_precision`` on another device than ``cuda``, or ``bf16`` on one that does not compute it.
    """
    if mixed_precision and device.type != "cuda":
        raise SpecError(
            "mixed_precision needs a GPU of NVIDIA or AMD", hint="set mixed_precision = false or use --device cuda"
        )
    if bf16 and not _computes_bf16(device):
        raise SpecError(f"bf16: {device} does not compute bfloat16", hint="set bf16 = false, or use a newer device")


#: Multiply-adds an image below which bfloat16 makes a detector on a MobileNetV3 slower on a CPU (benchmarks/step.py).
_BF16_MULTIPLY_ADDS = 1e9


def require_gain(setup: ModelSetup, device: torch.device) -> None:
    """Refuse to begin a run in bfloat16 on a CPU where a training step takes longer than in single precision.

    Raises:
        SpecError: a small detector on a MobileNetV3, whose depthwise convolutions have no fast kernel in bfloat16.
    """
    if not setup.bf16 or device.type != "cpu" or setup.image_backbone != "mobilenet_v3":
        return
    count = sum(detector_cost(setup).flops.values())
    if count < _BF16_MULTIPLY_ADDS:
        raise SpecError(
            f"bf16: slower than single precision on a CPU for mobilenet_v3 with {count / 1e9:.2f} G multiply-adds an "
            f"image (below {_BF16_MULTIPLY_ADDS / 1e9:g} G)",
            hint="set bf16 = false, or train it on a GPU",
        )


def _computes_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; what lacks them converts each number, which takes longer."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # PyTorch has no public word for it
    return device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in names)


class Precision:
    """Single precision, which leaves everything as it is, or a shorter one through autocast where it is safe.

    Micikevicius et al., arXiv:1710.03740. The range of float16 needs a gradient scaler, that of bfloat16 does not.

    Args:
        device: where the model computes.
        half: compute in float16.
        bf16: compute in bfloat16.
    """

    def __init__(self, device: torch.device, *, half: bool = False, bf16: bool = False) -> None:
        self.device = device
        self.dtype = torch.float16 if half else torch.bfloat16 if bf16 else None
        self.scaler = torch.amp.GradScaler(device.type) if half else None

    @property
    def half(self) -> bool:
        """Whether float16 is used at all."""
        return self.scaler is not None

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device.type, dtype=self.dtype)

    def full(self, losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The loss components in at least single precision."""
        return losses if self.dtype is None else {name: loss.float() for name, loss in losses.items()}

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled up in half precision."""
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimiser: Optimizer) -> None:
        """Bring the gradients back to their true size."""
        if self.scaler is not None:
            self.scaler.unscale_(optimiser)

    def step(self, optimiser: Optimizer) -> None:
        """Step; in half precision a step whose gradients overflowed is left out and the scale is lowered."""
        if self.scaler is None:
            optimiser.step()
        else:
            self.scaler.step(optimiser)
            self.scaler.update()

    @property
    def scale(self) -> float | None:
        """What the loss is multiplied by; None in single precision."""
        return None if self.scaler is None else float(self.scaler.get_scale())

    def state(self) -> dict[str, Any]:
        """The scaler's plain numbers; empty in single precision."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)


# Environment: enough to explain a number months later.


def describe_environment(device: torch.device, threads: int, from_epoch: int) -> EnvironmentRecord:
    """The machine, the versions, the code's git commit and the command line, as of now."""
    commit, dirty = _git_state(Path(__file__).resolve().parent)
    return EnvironmentRecord(
        started=clock.now(),
        host=socket.gethostname(),
        platform=platform.platform(),
        python=platform.python_version(),
        versions={**_versions(), **_gpu_versions(device)},
        device=_device_name(device),
        threads=threads,
        git_commit=commit,
        git_dirty=dirty,
        command=command_line(sys.argv),
        from_epoch=from_epoch,
    )


def _versions() -> dict[str, str]:
    """Of the packages that are here; ``cpu`` names the instructions that torch uses, which decide bits too."""
    found = {}
    for package in DECIDING_PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found | {"cpu": torch.backends.cpu.get_cpu_capability()}


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        model = torch.cuda.get_device_name(device)
        platform_of = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
        uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
        return f"{device} ({model}, {platform_of}{'' if uuid is None else f', GPU-{uuid}'})"
    if device.type == "mps":
        return f"mps ({platform.processor() or platform.machine()}, Metal)"
    return f"cpu ({torch.backends.cpu.get_cpu_capability()})"


def _gpu_versions(device: torch.device) -> dict[str, str]:
    """The versions of what computes on a GPU beside the packages, and the precision in which it does."""
    if device.type == "mps":
        return {"gpu": platform.processor() or platform.machine()}
    if device.type != "cuda":
        return {}
    found = {"gpu": torch.cuda.get_device_name(device), "driver": _driver(), "float32": _Flags.now().conv_precision}
    return found | {"cudnn": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]


def _driver() -> str:
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return "unknown"


def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    """The commit of the checkout this package runs from, and whether it was changed; None outside one."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no", "--", "."))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


# Memory, in bytes.


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new measurement where the device can; the CPU's peak is that of the process, and so is an Apple GPU's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """Most bytes held: allocated on a GPU, resident of the process on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.exists():  # the other figure is inherited from whoever started this process
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if line is not None:
            return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows, where nothing trains
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
