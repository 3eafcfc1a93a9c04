"""The prompt tools in the toolbar of the 3D viewport."""
