//! Sections appended to a PE32+ image: unified kernel images.
