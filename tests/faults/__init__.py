"""The fault matrix: at every step of a task's way, what can happen to its worker or to Redis, and what must hold."""
