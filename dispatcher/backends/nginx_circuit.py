"""The way to all backends, nginx: a circuit of its own, for what is no backend's doing."""

from __future__ import annotations

from .circuit import Circuit, Signal, State


class Way:
    """nginx's circuit, and how many lines went that way since it last moved."""

    def __init__(self) -> None:
        self.circuit = Circuit()
        self._fresh = 0

    def take(self) -> int:
        """Take note that a line was sent; return the epoch in which it was."""
        self._fresh += 1
        return self.circuit.epoch

    def release(self, epoch: int) -> None:
        """Take note that a line of this epoch has ended."""
        if epoch == self.circuit.epoch:
            self._fresh -= 1

    def is_open(self, now: float) -> bool:
        """Whether one more line may be sent."""
        if self.circuit.state is State.CLOSED:
            return True
        if self.circuit.until <= now:
            self._set(self.circuit.at(now))
        return self.circuit.state is not State.OPEN and self._fresh < self.circuit.allowance

    def record_result(
        self, signal: Signal, *, epoch: int, share: int, now: float, why: str
    ) -> None:
        """Take in how a line ended."""
        self._set(self.circuit.record_result(signal, epoch=epoch, share=share, now=now, why=why))

    def record_probe(self, *, share: int, now: float) -> None:
        """Let more lines through with each look."""
        if self.circuit.state is not State.CLOSED:
            self._set(self.circuit.at(now).record_alive(share=share))

    @property
    def trouble(self) -> str | None:
        """Why nothing gets through, in words, or None."""
        circuit = self.circuit
        return circuit.reason if circuit.failures and circuit.allowance <= 1 else None

    def _set(self, circuit: Circuit) -> None:
        if circuit.epoch != self.circuit.epoch:
            self._fresh = 0
        self.circuit = circuit
