"""Files and values from outside: read whole or refused in one sentence, written whole or not at all."""
