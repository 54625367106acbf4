"""A guard behind HTTP: OpenAI's moderation and chat endpoints, with a queue that has an end."""
