# SPDX-License-Identifier: Apache-2.0
"""What a fixture's model answers in one cut or another, for the bars that compare them."""
import statistics

import oracles


def text_of(cut):
    return " ".join(str(word) for word in (cut[1], *cut[3::2]))


class Alone:
    """What one rank makes of a fixture's prompts."""

    def __init__(self, fixture, is_fast=True):
        self.fixture = fixture
        self.every = [list(fixture.prompt(prompt)) + list(fixture.greedy(prompt)[:-1])
                      for prompt in range(oracles.PROMPTS)]
        self.exact = [self.answer(prompt, ()) for prompt in range(oracles.PROMPTS)]
        self.fast = [self.read(prompt, ()) for prompt in range(oracles.PROMPTS if is_fast else 0)]

    def answer(self, prompt, cut):
        """Greedy tokens, and logits of the prompt's last position."""
        wanted = ("--greedy", len(self.fixture.greedy(prompt)), "--logits")
        return oracles.evaluate(self.fixture.model, self.fixture.prompt(prompt), (*cut, *wanted))

    def read(self, prompt, cut):
        return oracles.evaluate(self.fixture.model, self.every[prompt], ("--fast", *cut))


def check_exact(alone, cut, logit_bound=None):
    """None, or what is wrong."""
    for prompt, expected in enumerate(alone.exact):
        tokens = expected["greedy"]
        if tokens != list(alone.fixture.greedy(prompt)):
            return f"prompt {prompt}: one rank does not give the reference"
        answer = alone.answer(prompt, cut)
        at = oracles.agreed(answer["greedy"], tokens)
        if at < len(tokens):
            return f"prompt {prompt}: token {at} differs"
        apart = oracles.worst(answer["logits"], expected["logits"])
        if logit_bound is not None and apart > logit_bound:
            return f"prompt {prompt}: logits differ by {apart:.1e}"
    return None


def check_fast(alone, cut):
    """(what is wrong or None, tokens judged)"""
    judged = 0
    for prompt, expected in enumerate(alone.fast):
        answer = alone.read(prompt, cut)
        if cut[1] == "pipeline" and answer["top5"] != expected["top5"]:
            return f"prompt {prompt}: other bits than one rank's in fast mode", judged
        stated = (expected["stated_error"]["error"] + expected["stated_error"]["swap"]) * \
            statistics.pstdev(alone.fixture.last(prompt))
        for position, (ours, theirs) in enumerate(zip(answer["top5"], expected["top5"])):
            margin = theirs[0][1] - theirs[1][1]
            judged += margin > stated
            if margin > stated and ours[0][0] != theirs[0][0]:
                return f"prompt {prompt}: other token at {position}, margin {margin:.3f}", judged
    return None, judged


class Tally:
    """Cuts in `required` must be possible, and are judged in fast mode too where `is_fast`."""

    def __init__(self, required, is_fast=True, has_logits=False):
        self.required, self.is_fast, self.has_logits = required, is_fast, has_logits
        self.runs = self.missed = self.refused = self.judged = 0

    def take(self, alone, cut):
        wrong, judged = None, 0
        try:
            wrong = check_exact(alone, cut, alone.fixture.logit_bound if self.has_logits else None)
            if not wrong and self.is_fast and cut in self.required:
                wrong, judged = check_fast(alone, cut)
        except oracles.Refused as refused:
            if cut not in self.required and cut[1] == "pipeline" and "layers" in str(refused):
                self.refused += 1
                return f"refused ({str(refused).removeprefix('troupe-engine: ')})"
            wrong = f"refused: {refused}"
        self.runs += 1
        self.missed += wrong is not None
        self.judged += judged
        return f"{wrong}  MISSED" if wrong else "equal"
