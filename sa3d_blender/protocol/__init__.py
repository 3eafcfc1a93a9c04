"""What the add-on and the engine share: standard library only, no bpy, no Torch."""
