"""Events arrive in order; slow ones at once, fast ones together, all at the end."""

from __future__ import annotations

from pbsbatch.run.events import EngineSaid, Event
from pbsbatch.run.post import Post


class Mail:
    def __init__(self, held: float) -> None:
        self.now, self.came = 100.0, list[list[Event]]()
        self.post = Post(self.came.append, held, lambda: self.now)

    def send(self, *texts: str) -> None:
        for text in texts:
            self.post.send(EngineSaid(text))

    @property
    def texts(self) -> list[list[str]]:
        return [[event.text for event in events if isinstance(event, EngineSaid)] for events in self.came]


def test_what_comes_slowly_is_sent_at_once() -> None:
    mail = Mail(0.2)
    for text in ("a", "b", "c"):
        mail.send(text)
        mail.now += 0.2
    assert mail.texts == [["a"], ["b"], ["c"]]


def test_what_comes_fast_goes_together_and_in_order() -> None:
    mail = Mail(0.2)
    mail.send("a", "b", "c")
    assert mail.texts == [["a"]]
    mail.now += 0.25
    mail.send("d", "e")
    mail.post.flush()
    mail.post.flush()
    assert mail.texts == [["a"], ["b", "c", "d"], ["e"]]


def test_where_nothing_may_wait_nothing_does() -> None:
    mail = Mail(0.0)
    mail.send("a", "b", "c")
    assert mail.texts == [["a"], ["b"], ["c"]]
