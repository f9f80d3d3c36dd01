"""What a verb tells while a model comes from another host: how far it is now and then, and in the end what it took."""

from fastness.cli.following import Following


class Told:
    quiet = False

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def view(stage, state="starting"):
    one = {
        "id": "chat-2",
        "devices": ["bristol-07/gpu-0"],
        "phase": "placed",
        "state": state,
        "stage": stage,
        "revision": 1,
    }
    return {"placed": [one], "revision": 1, "wanted": 1, "answered": None, "phase": "placed"}


def test_a_fetch_is_one_stage_with_a_bar_now_and_then():
    now, talk = [0.0], Told()
    following = Following(api=None, talk=talk, since=0, clock=lambda: now[0])
    for percent in range(0, 100, 5):
        now[0] += 1.0
        following._note("chat", view(f"fetch {percent}% of 19.8 GB from bristol-03"))
    now[0] += 1.0
    following._note("chat", view("verify 19.8 GB"))
    now[0] += 2.0
    following._note("chat", view("verify"))
    now[0] += 1.0
    following._note("chat", view("load"))
    now[0] += 4.0
    following._note("chat", view(None, "ready"))
    bars = [line for line in talk.lines if "█" in line or "░" in line]
    assert 8 <= len(bars) <= 11
    assert bars[-1].endswith("fetch █████████░ 95% of 19.8 GB from bristol-03")
    assert talk.lines[-1].endswith("fetch 19.8 GB from bristol-03 20 s   verify 3.0 s   load 4.0 s   ready")
