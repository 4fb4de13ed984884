"""What a layer, a direction or a part of the residual stream says about the next token."""
