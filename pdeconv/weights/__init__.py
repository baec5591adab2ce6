"""Trained weights, a safetensors file and a model card each; ``create_model(name, pretrained=True)`` loads them."""
