"""The part of `Settings` for the model servers that `batchline up` runs; no other command uses it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from .types import Hosts


class FleetSettings(BaseModel):
    """What the model servers of this host run, and how."""

    fleet_model: str | None = Field(
        None,
        min_length=1,
        description="Hugging Face name or folder of the model that `up` serves (`--model`); unset: a small "
        "one",
    )
    fleet_tensor_parallel_size: int = Field(
        1, ge=1, description="GPUs for each server of `up` (`--tensor-parallel-size`)"
    )
    fleet_response_role: str | None = Field(
        None,
        min_length=1,
        description="Role of the messages with which the servers of `up` answer chats; unset: `assistant`",
    )
    fleet_prompt_tokens_details: bool = Field(
        False,  # noqa: FBT003
        description="The servers of `up` tell in `usage.prompt_tokens_details` how much of a prompt was "
        "cached",
    )
    fleet_max_log_len: int | None = Field(
        None,
        ge=0,
        description="Characters or tokens of a prompt that the servers of `up` log at most, if they log "
        "prompts (`--vllm-arg=--enable-log-requests`); unset: all",
    )
    fleet_cache_dir: Path = Field(
        Path("~/.cache/batchline"),
        description="Where `up` keeps the CPU build of vLLM and its model",
    )
    media_domains: Hosts = Field(
        (),
        description="Hosts from which the servers of `up` fetch images, audio and video that requests name "
        "by URL, comma separated, each as it stands in the URL; unset: none; `*`: any",
    )
