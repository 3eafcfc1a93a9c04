"""clicknet: a small promptable segmenter whose weights ship with the project, so that clicks work offline."""
