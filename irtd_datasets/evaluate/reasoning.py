r"""What a model says, without how it came to say it: reasoning of any length is taken off before anything is read."""

from __future__ import annotations

import re

__all__ = ["without_reasoning"]

_NAMES = "think|thinking|thought|thoughts|reasoning|analysis|reflection|scratchpad|seed:think|summary|caption"
# DeepSeek-R1, Qwen3, GLM-4.1V and many others; Kimi-VL; Magistral; Sky-T1; gpt-oss; MedGemma; LLaVA-CoT.
_OPEN = rf"<(?:{_NAMES})>|◁think▷|\[THINK\]|<\|begin_of_thought\|>|<\|channel\|>(?:analysis|commentary)|<unused94>"
_CLOSE = rf"</(?:{_NAMES})>|◁/think▷|\[/THINK\]|<\|end_of_thought\|>|<\|channel\|>final(?:<\|message\|>)?|<unused95>"
_MARK = re.compile(rf"(?P<open>{_OPEN})|{_CLOSE}", re.IGNORECASE)
_ANSWER = re.compile(r"<(answer|final_answer|conclusion)>|<\|begin_of_(?:solution|box)\|>", re.IGNORECASE)


def without_reasoning(text: str) -> str:
    r"""An answer without the reasoning of any family, and without the tags of the answer itself.

    What stands before a closing mark that nothing opened is reasoning, too: chat templates put the opening one into the
    prompt. Reasoning that never ends leaves no answer.

    Example:
        >>> [without_reasoning(text) for text in ("So it is A, or\nnot.</think> B", "<think>It is A", "B")]
        [' B', '', 'B']
        >>> without_reasoning("<think>A?</think><answer>B</answer> because")
        'B'
    """
    if "<" in text or "◁" in text or "[" in text:
        parts: list[str] = []
        position, inside = 0, False
        for mark in _MARK.finditer(text):
            if mark["open"] is None:
                if not inside:
                    parts.clear()
                inside, position = False, mark.end()
            elif not inside:
                parts.append(text[position : mark.start()])
                inside = True
        if not inside:
            parts.append(text[position:])
        text = " ".join(part for part in parts if part.strip()) if len(parts) > 1 else "".join(parts)
        marks = list(_ANSWER.finditer(text))
        if marks:
            rest = text[marks[-1].end() :]
            close = f"</{marks[-1][1]}>" if marks[-1][1] else marks[-1][0].replace("begin", "end")
            end = rest.lower().find(close.lower())
            text = rest[:end] if end >= 0 else rest
    return text
