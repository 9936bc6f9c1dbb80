//! Images with links that lead to nothing, and folders where files are bound.
