//! What is added: extension images turned into layers of the initramfs.
