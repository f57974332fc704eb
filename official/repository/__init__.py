"""Published models: handles, repositories and their index, downloads, archives and cards. Imports no TensorFlow."""
