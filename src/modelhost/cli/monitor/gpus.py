"""``modelhost gpus``: the GPUs of a running host."""

from __future__ import annotations

from typing import Final

import typer

from modelhost.cli import console
from modelhost.cli.operation_commands import examples, result_command
from modelhost.operations.machine_stats import GET_GPU_STATS, GpuList

UNKNOWN: Final = "-"


def print_gpus(found: GpuList) -> None:
    """Print a row for each GPU on standard output."""
    if not found.gpus:
        console.note("no GPUs: the host sees none of NVIDIA's")
        return
    numbers = ("Load", "Memory", "Temperature", "Power")
    table = console.new_table("GPU", "Name", *numbers, right=numbers)
    for gpu in found.gpus:
        load, power = gpu.compute.utilization, gpu.power
        heat = None if gpu.temperature is None else gpu.temperature.current_c
        console.add_row(
            table,
            str(gpu.id),
            console.printable(gpu.name),
            UNKNOWN if load is None else f"{load * 100:.0f} %",
            f"{gpu.memory.used_mb:,} of {gpu.memory.total_mb:,} MB",
            UNKNOWN if heat is None else f"{heat} C",
            UNKNOWN if power is None or power.current_w is None else f"{power.current_w:.0f} W",
        )
    console.print_table(table)


app = typer.Typer(add_completion=False)
app.command(help=f"{GET_GPU_STATS.summary}.", epilog=examples("gpus", "", "--gpu-ids 0,1", "--json"))(
    result_command(GET_GPU_STATS, print_gpus)
)
