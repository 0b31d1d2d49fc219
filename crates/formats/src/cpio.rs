//! cpio archives in the newc form: what a Linux initramfs is made of.
