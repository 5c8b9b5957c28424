# How jobs start: as forks of one process that has imported their libraries, where they run on this machine. It is no
# stage; without it every job starts Python and imports for itself, as it does on a cluster.

import secrets
import shlex
import socket
import subprocess

from prh.jobs.devices import visible_gpus

MODELS = ["torch", "timm", "transformers.modeling_utils"]
STATISTICS = ["scipy.stats", "sklearn.linear_model", "sklearn.isotonic"]

# What programs find imported. Others start as always, and so do those that fetch: the hub is read offline here.
FORKED = {
    "train_model.py": MODELS,
    "features.py": MODELS,
    "neighbours.py": ["torch"],
    "alignment.py": ["torch"],
    "n_sweep.py": ["torch"],
    "best_layers.py": ["scipy.stats"],
    "probes.py": ["torch", *STATISTICS],
    "bits_per_byte.py": [*MODELS, *STATISTICS],
    "harness.py": [*MODELS, *STATISTICS, "lm_eval.models.huggingface"],
    "scores.py": STATISTICS,
    "study.py": [*STATISTICS, "umap"],
    "draw.py": ["matplotlib.pyplot"],
}
GPU_PROGRAMS = {"features.py", "bits_per_byte.py", "harness.py"} | (
    {"neighbours.py", "alignment.py", "n_sweep.py"} if search_device == "cuda" else set()
)


def start_forkserver():
    """Let jobs of this machine start as forks, if they run with the Python that runs snakemake."""
    if (
        not compute.forkserver
        or sys.platform != "linux"
        or not workflow.local_exec
        or workflow.deployment_settings.deployment_method
    ):
        return
    gpus = compute.device != "cpu" and visible_gpus()  # a fork cannot use one
    modules = {name: imports for name, imports in FORKED.items() if not (gpus and name in GPU_PROGRAMS)}
    one_thread = ["OMP", "OPENBLAS", "GOTO", "MKL", "NUMEXPR"]  # more would forbid forks; each gets its own number
    settings = {
        **{f"{library}_NUM_THREADS": "1" for library in one_thread},
        "JE_ARROW_MALLOC_CONF": "background_thread:false",  # likewise; sklearn imports pandas, which imports pyarrow
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        # A fork copies the page table, and unmaps it when it ends: with huge pages, where programs may ask for them, in
        # little more than half the time. Forks ask for them too.
        "GLIBC_TUNABLES": ":".join(filter(None, ["glibc.malloc.hugetlb=1", os.environ.get("GLIBC_TUNABLES")])),
    }
    name = f"prh-{secrets.token_hex(8)}"
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"\0{name}")
            listener.listen()
            server = subprocess.Popen(
                [sys.executable, str(PROGRAMS / "forkserver.py"), str(listener.fileno()), json.dumps(modules)],
                stdin=subprocess.PIPE,  # the server ends when this is closed: when snakemake ends, however it does
                pass_fds=[listener.fileno()],
                env=os.environ | settings,
            )
    except OSError as error:
        logger.warning(f"Jobs start without forks, for there is no server: {error}")
        return
    global forkserver
    forkserver = server  # kept: its pipe would be closed
    client = shlex.join([sys.executable, "-IS", str(PROGRAMS / "forkclient.py"), name])
    client = client.replace("{", "{{").replace("}", "}}")
    shell.prefix(f'set -euo pipefail; python() {{{{ {client} "$@"; }}}}; ')
