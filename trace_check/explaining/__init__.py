"""What a refusal means: the nearest legal traces, the smallest piece that is still refused, a diagram of it."""
