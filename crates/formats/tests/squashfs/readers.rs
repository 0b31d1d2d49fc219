//! The judges: three readers that know nothing of the writer.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use backhand::{FilesystemReader, InnerNode};
use tempfile::TempDir;

use crate::seen::{Entry, Seen, What, key};

/// What the `backhand` crate sees.
pub fn backhand(image: &[u8]) -> Seen {
    let system =
        FilesystemReader::from_reader(Cursor::new(image)).map_err(|error| format!("{error:?}")).unwrap();
    let see = |node: &backhand::Node<_>| {
        let what = match &node.inner {
            InnerNode::File(file) => {
                let mut content = Vec::new();
                system.file(file).reader_checked().unwrap().read_to_end(&mut content).unwrap();
                What::file(&content)
            }
            InnerNode::Symlink(symlink) => What::Symlink(symlink.link.to_str().unwrap().to_owned()),
            InnerNode::Dir(_) => What::Directory,
            InnerNode::CharacterDevice(it) => {
                let (major, minor) = device(it.device_number);
                What::Char(major, minor)
            }
            InnerNode::BlockDevice(it) => {
                let (major, minor) = device(it.device_number);
                What::Block(major, minor)
            }
            InnerNode::NamedPipe => What::Fifo,
            InnerNode::Socket => What::Socket,
        };
        let header = node.header;
        let mode = u32::from(header.permissions);
        Entry { what, mode, uid: header.uid, gid: header.gid, mtime: header.mtime }
    };
    system.files().map(|node| (key(node.fullpath.to_str().unwrap()), see(node))).collect()
}

/// Major and minor of Linux' device `number`.
fn device(number: u32) -> (u32, u32) {
    (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00)
}

/// What `unsquashfs` sees, and the names it calls hard links of one another. Asks for the pseudo file, which has
/// everything but attributes and needs no privilege. None if the tool is not there.
pub fn unsquashfs(image: &[u8]) -> Option<(Seen, Vec<Vec<String>>)> {
    let tool = ci::tool("unsquashfs")?;
    let dir = tempfile::tempdir().unwrap();
    let (source, dump) = (dir.path().join("image"), dir.path().join("dump"));
    fs::write(&source, image).unwrap();
    let output = Command::new(tool).args(["-no-progress", "-pf"]).args([&dump, &source]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(parse_dump(&fs::read(&dump).unwrap()))
}

/// Source: squashfs-tools 4.5.1, README, pseudo file definitions.
fn parse_dump(dump: &[u8]) -> (Seen, Vec<Vec<String>>) {
    const MARK: &[u8] = b"\n#\n# START OF DATA - DO NOT MODIFY\n#\n";
    let starts = || dump.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let (text, content) = match starts().find(|at| dump[*at..].starts_with(MARK)) {
        Some(at) => (&dump[..at], &dump[at + MARK.len()..]),
        None => (dump, &[][..]),
    };
    let mut seen = Seen::new();
    let mut links: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in std::str::from_utf8(text).unwrap().lines() {
        let (name, rest) = unescape(line);
        let path = key(&name);
        let mut fields = rest.splitn(6, ' ');
        let kind = fields.next().unwrap();
        if kind == "L" {
            let target = key(&unescape(rest.strip_prefix("L ").unwrap()).0);
            seen.insert(path.clone(), seen[&target].clone());
            links.entry(target.clone()).or_insert_with(|| vec![target]).push(path);
            continue;
        }
        let mut number = |radix| {
            // Prints ids as signed numbers.
            let number = i64::from_str_radix(fields.next().unwrap(), radix).unwrap();
            u32::try_from(number.rem_euclid(1 << 32)).unwrap()
        };
        let (mtime, mode, uid, gid) = (number(10), number(8), number(10), number(10));
        let rest = fields.next().unwrap_or_default();
        let pair = || {
            let mut numbers = rest.split(' ').map(|number| number.parse::<i64>().unwrap());
            (numbers.next().unwrap(), numbers.next().unwrap())
        };
        // The tool prints the number of a device split at bit 8, the upper part signed.
        let device = || {
            let (high, low) = pair();
            device(u32::try_from((high << 8 | low).rem_euclid(1 << 32)).unwrap())
        };
        let what = match (kind, rest) {
            ("D", _) => What::Directory,
            ("R", _) => {
                let (len, offset) = pair();
                let (len, offset) = (usize::try_from(len).unwrap(), usize::try_from(offset).unwrap());
                What::file(&content[offset..offset + len])
            }
            ("S", target) => What::Symlink(target.to_owned()),
            ("C", _) => What::Char(device().0, device().1),
            ("B", _) => What::Block(device().0, device().1),
            ("I", "f") => What::Fifo,
            ("I", "s") => What::Socket,
            _ => panic!("`{line}`"),
        };
        seen.insert(path, Entry { what, mode, uid, gid, mtime });
    }
    let mut links: Vec<_> = links.into_values().collect();
    for names in &mut links {
        names.sort();
    }
    links.sort();
    (seen, links)
}

/// The name that `line` begins with, in which a backslash protects what follows, and the fields behind it.
fn unescape(line: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next().unwrap().1),
            ' ' => return (name, &line[at + 1..]),
            _ => name.push(c),
        }
    }
    (name, "")
}

/// A file system mounted by the kernel until dropped.
pub struct Mounted {
    dir: TempDir,
}

impl Mounted {
    /// Mounts `image`; none, loudly, where the kernel or the lack of privilege forbids it.
    pub fn new(image: &[u8]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (source, at) = (dir.path().join("image"), dir.path().join("mnt"));
        fs::write(&source, image).unwrap();
        fs::create_dir(&at).unwrap();
        let root = fs::metadata(&source).unwrap().uid() == 0;
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default().contains("squashfs");
        if !root || !known || !Path::new("/dev/loop-control").exists() {
            eprintln!("SKIPPED: this kernel cannot mount squashfs here (root: {root}, squashfs: {known})");
            return None;
        }
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "squashfs", "-o", "loop,ro"]).args([&source, &at]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("permission denied") || said.contains("failed to setup loop device") {
            eprintln!("SKIPPED: this machine forbids mounting: {said}");
            return None;
        }
        assert!(output.status.success(), "{said}");
        Some(Self { dir })
    }

    /// Where it is mounted.
    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("mnt")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(self.path()).status().unwrap();
        assert!(done.success() || std::thread::panicking(), "unmounting");
    }
}

/// What is below `root`, and the names that are hard links of one another.
pub fn walk(root: &Path) -> (Seen, Vec<Vec<String>>) {
    let mut seen = Seen::new();
    let mut links: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let number = u32::try_from(metadata.rdev()).unwrap();
        let (major, minor) = device(number);
        let name = key(path.strip_prefix(root).unwrap().to_str().unwrap());
        let what = if kind.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            What::Directory
        } else if kind.is_symlink() {
            What::Symlink(fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
        } else if kind.is_file() {
            What::file(&fs::read(&path).unwrap())
        } else if kind.is_char_device() {
            What::Char(major, minor)
        } else if kind.is_block_device() {
            What::Block(major, minor)
        } else if kind.is_fifo() {
            What::Fifo
        } else {
            What::Socket
        };
        if !kind.is_dir() && metadata.nlink() > 1 {
            links.entry(metadata.ino()).or_default().push(name.clone());
            links.get_mut(&metadata.ino()).unwrap().sort();
        }
        let entry = Entry {
            what,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: u32::try_from(metadata.mtime()).unwrap(),
        };
        seen.insert(name, entry);
    }
    let mut links: Vec<_> = links.into_values().collect();
    links.sort();
    (seen, links)
}

/// The extended attributes of everything below `root` that has any.
pub fn xattrs(root: &Path) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for name in walk(root).0.into_keys() {
        let path = root.join(name.trim_start_matches('/'));
        let mut list = vec![0; 65536];
        let len = rustix::fs::llistxattr(&path, &mut list[..]).unwrap();
        let names = list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let found: BTreeMap<_, _> = names
            .map(|attribute| {
                let mut value = vec![0; 65536];
                let len = rustix::fs::lgetxattr(&path, attribute, &mut value[..]).unwrap();
                value.truncate(len);
                (String::from_utf8(attribute.to_vec()).unwrap(), value)
            })
            .collect();
        if !found.is_empty() {
            all.insert(name, found);
        }
    }
    all
}

/// What `unsquashfs` puts into a directory; none if it is not there or may not make devices and attributes.
pub fn extracted(image: &[u8]) -> Option<TempDir> {
    let tool = ci::tool("unsquashfs")?;
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("image");
    fs::write(&source, image).unwrap();
    if fs::metadata(&source).unwrap().uid() != 0 {
        eprintln!("SKIPPED: only root can extract devices, owners and attributes");
        return None;
    }
    let mut extract = Command::new(tool);
    let output =
        extract.args(["-no-progress", "-d"]).args([&dir.path().join("root"), &source]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(dir)
}
