"""Questions to a live LM Studio: recording fixtures, and comparing them with what it says now."""
