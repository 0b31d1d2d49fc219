//! Flattening, judged by `umoci`, which unpacks images as container runtimes do.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use ::tar::{EntryType, Header};
use bytes::Bytes;
use extensions::{Error, Stack};
use extent::{Digest, ExtentMap, Kind, Node, Tree, TreePath, read_all};
use formats::tar::Layer;

/// What a path is: enough to tell two trees apart.
#[derive(Debug, PartialEq, Eq)]
enum Is {
    Directory { mode: u32 },
    File { mode: u32, content: Vec<u8>, first_name: String },
    Symlink(String),
}

type Listing = BTreeMap<String, Is>;

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

/// An image of `archives` as `umoci` unpacks it; none where it refuses.
fn unpacked(umoci: &Path, archives: &[Vec<u8>]) -> Option<Listing> {
    let dir = tempfile::tempdir().unwrap();
    let blobs = dir.path().join("image/blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": digest, "size": bytes.len()
        })
    };
    let layers: Vec<_> = archives.iter().map(|archive| put("layer.v1.tar", archive)).collect();
    let diff_ids: Vec<_> = archives.iter().map(|archive| Digest::of(archive)).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}
    });
    let config = put("config.v1+json", config.to_string().as_bytes());
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
    let mut manifest = put("manifest.v1+json", manifest.to_string().as_bytes());
    manifest["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "x"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]}).to_string();
    std::fs::write(dir.path().join("image/index.json"), index).unwrap();
    std::fs::write(dir.path().join("image/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let bundle = dir.path().join("bundle");
    let mut command = Command::new(umoci);
    command
        .args(["unpack", "--rootless", "--image"])
        .arg(format!("{}:x", dir.path().join("image").display()));
    let output = command.arg(&bundle).output().unwrap();
    if !output.status.success() {
        return None;
    }
    let mut listing = Listing::new();
    let mut first_names = HashMap::new();
    list(&bundle.join("rootfs"), "", &mut first_names, &mut listing);
    Some(listing)
}

/// Lists what lies in `dir` in the order of a tree.
fn list(dir: &Path, prefix: &str, first_names: &mut HashMap<u64, String>, listing: &mut Listing) {
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let (at, name) = (dir.join(&name), format!("{prefix}{}", name.to_str().unwrap()));
        let meta = std::fs::symlink_metadata(&at).unwrap();
        let mode = meta.mode() & 0o7777;
        let is = if meta.is_dir() {
            list(&at, &format!("{name}/"), first_names, listing);
            Is::Directory { mode }
        } else if meta.is_symlink() {
            Is::Symlink(std::fs::read_link(&at).unwrap().to_str().unwrap().to_owned())
        } else {
            let first_name = first_names.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
            Is::File { mode, content: std::fs::read(&at).unwrap(), first_name }
        };
        listing.insert(name, is);
    }
}

/// The same as we see it.
fn flattened(archives: &[Vec<u8>]) -> Result<Listing, Error> {
    let mut stack = Stack::new();
    let mut blobs = HashMap::new();
    for archive in archives {
        let digest = Digest::of(archive);
        blobs.insert(digest, Bytes::copy_from_slice(archive));
        stack.lay(&formats::tar::layer(&**archive, digest).unwrap())?;
    }
    let tree = stack.into_tree()?;
    Ok(tree.iter().skip(1).map(|(path, node)| (path.to_string(), is(&tree, path, node, &blobs))).collect())
}

fn is(tree: &Tree, path: &TreePath, node: &Node, blobs: &HashMap<Digest, Bytes>) -> Is {
    let file = |content: &ExtentMap, mode: u16, first_name: &TreePath| Is::File {
        mode: mode.into(),
        content: read_all(content, blobs, 1 << 20).unwrap(),
        first_name: first_name.to_string(),
    };
    match &node.kind {
        Kind::Directory => Is::Directory { mode: node.mode.into() },
        Kind::Symlink(target) => Is::Symlink(target.clone()),
        Kind::File(content) => file(content, node.mode, path),
        Kind::HardLink(target) => {
            let holder = tree.get(target).unwrap();
            file(tree.content(path.as_str()).unwrap(), holder.mode, target)
        }
        other => panic!("{other:?} in a test"),
    }
}

/// An archive of entries in the order given.
fn archive<'a>(entries: impl IntoIterator<Item = (String, &'a Node)>) -> Vec<u8> {
    let mut archive = ::tar::Builder::new(vec![]);
    for (name, node) in entries {
        let mut header = Header::new_ustar();
        header.set_mode(node.mode.into());
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        match &node.kind {
            Kind::File(content) => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(content.len());
                let bytes = read_all(content, &HashMap::<Digest, Bytes>::new(), 1 << 20).unwrap();
                archive.append_data(&mut header, &name, &*bytes).unwrap();
            }
            Kind::Symlink(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_path(&name).unwrap();
                header.set_link_name_literal(target).unwrap();
                header.set_cksum();
                archive.append(&header, std::io::empty()).unwrap();
            }
            Kind::HardLink(target) => {
                header.set_entry_type(EntryType::Link);
                archive.append_link(&mut header, &name, target.as_str()).unwrap();
            }
            _ => {
                header.set_entry_type(EntryType::Directory);
                archive.append_data(&mut header, format!("{name}/"), std::io::empty()).unwrap();
            }
        }
    }
    archive.into_inner().unwrap()
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    fn name(&mut self) -> String {
        let depth = 1 + self.roll(3);
        (0..depth).map(|_| self.pick(&["a", "b", "c", "l"])).collect::<Vec<_>>().join("/")
    }

    /// A layer over the files `below`.
    fn layer(&mut self, below: &[String]) -> Vec<u8> {
        let file = Node::new(Kind::File(ExtentMap::new()), 0o644);
        let mut whiteouts = vec![];
        let mut tree = Tree::new();
        let mut links = vec![];
        for _ in 0..=self.roll(6) {
            let name = self.name();
            let mode = if self.roll(2) == 0 { 0o755 } else { 0o700 };
            let (parent, last) =
                name.rsplit_once('/').map_or((String::new(), &*name), |(p, l)| (format!("{p}/"), l));
            let kind = match self.roll(12) {
                0..=2 => Kind::File(format!("{}", self.0 >> 40).into_bytes().into()),
                3 | 4 => Kind::Directory,
                5 | 6 => Kind::Symlink(
                    self.pick(&["a", "b", "/c", "../a", "../../..", "/", "a/b", "l", "./c"]).into(),
                ),
                7 | 8 if !below.is_empty() => Kind::HardLink(path(&below[self.roll(below.len())])),
                9 => Kind::HardLink(path(&self.name())),
                10 => {
                    whiteouts.push(format!("{parent}.wh..wh..opq"));
                    continue;
                }
                _ => {
                    whiteouts.push(format!("{parent}.wh.{last}"));
                    continue;
                }
            };
            let link = matches!(kind, Kind::HardLink(_));
            if tree.get(&path(&name)).is_none()
                && tree.insert(path(&name), Node::new(kind, mode)).is_ok()
                && link
            {
                links.push(name);
            }
        }
        whiteouts.sort();
        whiteouts.dedup();
        // What lies in front of its target in the archive is a link to a lower layer: so for both sides.
        let entries =
            tree.iter().skip(1).filter(|(_, node)| node.kind != Kind::Directory || self.roll(3) > 0);
        let links: Vec<_> = links.iter().map(|name| (name.clone(), tree.get(&path(name)).unwrap())).collect();
        let rest = entries.filter(|(_, node)| !matches!(node.kind, Kind::HardLink(_)));
        let rest: Vec<_> = rest.map(|(path, node)| (path.to_string(), node)).collect();
        let whiteouts = whiteouts.into_iter().map(|name| (name, &file));
        if self.0.is_multiple_of(2) {
            archive(links.into_iter().chain(whiteouts).chain(rest))
        } else {
            archive(whiteouts.chain(rest).chain(links))
        }
    }
}

#[test]
fn stacks_of_any_layers_are_what_umoci_makes_of_them() {
    let Some(umoci) = ci::tool("umoci") else { return };
    let (mut same, mut refused) = (0, 0);
    for seed in 1..=250 {
        let mut dice = Dice(seed);
        let mut archives: Vec<Vec<u8>> = vec![];
        for _ in 0..2 + dice.roll(3) {
            let listing = flattened(&archives).unwrap_or_default();
            let files = listing.iter().filter(|(_, is)| matches!(is, Is::File { .. }));
            let below: Vec<String> = files.map(|(name, _)| name.clone()).collect();
            let next = dice.layer(&below);
            // A link to what follows it is refused on its own.
            if formats::tar::layer(&*next, Digest::of(&next)).is_ok() {
                archives.push(next);
            }
        }
        match (unpacked(&umoci, &archives), flattened(&archives)) {
            (Some(theirs), Ok(ours)) => {
                assert_eq!(ours, theirs, "seed {seed}\n{}", described(&archives));
                same += 1;
            }
            // Which of two is there is for the order of the archive to say, and that decides nothing here.
            (None, _) | (_, Err(Error::Twice { .. })) => refused += 1,
            (Some(theirs), Err(error)) => panic!("seed {seed}: {error}\n{}{theirs:#?}", described(&archives)),
        }
    }
    assert!(same > 100, "{same} the same, {refused} refused: too few to say anything");
}

fn described(archives: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for archive in archives {
        for entry in ::tar::Archive::new(&**archive).entries().unwrap() {
            let entry = entry.unwrap();
            let link = entry.link_name().unwrap().map(|link| link.display().to_string());
            let kind = char::from(entry.header().entry_type().as_byte());
            let link = link.unwrap_or_default();
            writeln!(text, "{kind} {} {link}", entry.path().unwrap().display()).unwrap();
        }
        text += "--\n";
    }
    text
}

#[test]
fn what_python_writes_in_any_form_is_what_umoci_makes_of_it() {
    let (Some(umoci), Some(python)) = (ci::tool("umoci"), ci::tool("python3")) else { return };
    let script = r"
import io, sys, tarfile
forms = {'gnu': tarfile.GNU_FORMAT, 'pax': tarfile.PAX_FORMAT}
archive = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=forms[sys.argv[1]])
def add(name, kind=tarfile.REGTYPE, data=b'', link='', mode=0o644, **pax):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode, info.pax_headers = kind, len(data), link, mode, pax
    archive.addfile(info, io.BytesIO(data))
long = 'd' * 90 + '/' + 'e' * 120 + '/' + 'f' * 200
if sys.argv[2] == 'lower':
    add('etc', tarfile.DIRTYPE, mode=0o750)
    add(long, data=b'long', **{'SCHILY.xattr.security.selinux': 'system_u:object_r:etc_t:s0'})
    add('etc/größe', data='ü'.encode())
    add('etc/link', tarfile.SYMTYPE, link='x' * 150)
    add('etc/hard', tarfile.LNKTYPE, link=long)
else:
    add('etc/again', tarfile.LNKTYPE, link=long)
    add('d' * 90 + '/.wh.' + 'e' * 120)
    add('etc/.wh.link')
archive.close()
";
    for form in ["gnu", "pax"] {
        let archives: Vec<Vec<u8>> = ["lower", "upper"]
            .into_iter()
            .map(|which| {
                let output = Command::new(&python).args(["-c", script, form, which]).output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                output.stdout
            })
            .collect();
        let ours = flattened(&archives).unwrap();
        assert_eq!(Some(&ours), unpacked(&umoci, &archives).as_ref(), "{form}");
        assert!(ours.contains_key("etc/again") && !ours.contains_key("etc/link"));

        let mut stack = Stack::new();
        for archive in &archives {
            let Layer { tree, implied } = formats::tar::layer(&**archive, Digest::of(archive)).unwrap();
            stack.lay(&Layer { tree, implied }).unwrap();
        }
        let tree = stack.into_tree().unwrap();
        let label = tree.get(&path("etc/again")).unwrap().xattrs.get("security.selinux");
        // The GNU form has no place for one.
        let wanted = (form == "pax").then(|| b"system_u:object_r:etc_t:s0".to_vec());
        assert_eq!(label, wanted.as_ref(), "the label is the inode's, whichever name is left");
    }
}
