use super::*;

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

/// What is tested, layers, and what they make.
type Row<'a> = (&'a str, &'a [&'a [&'a str]], &'a [&'a str]);

/// A tree of files: `name=content`, hard links `name>target`, symbolic links `name@target`, directories `name`.
fn tree(entries: &[&str]) -> Tree {
    layer(entries).tree
}

/// A layer that states these entries and nothing else.
fn layer(entries: &[&str]) -> Layer {
    let mut tree = Tree::new();
    let mut stated = BTreeSet::new();
    for entry in entries {
        let (name, kind) = if let Some((name, target)) = entry.split_once('>') {
            (name, Kind::HardLink(path(target)))
        } else if let Some((name, target)) = entry.split_once('@') {
            (name, Kind::Symlink(target.to_owned()))
        } else if let Some((name, content)) = entry.split_once('=') {
            (name, Kind::File(content.as_bytes().to_vec().into()))
        } else {
            (*entry, Kind::Directory)
        };
        let mode = if matches!(kind, Kind::File(_) | Kind::HardLink(_)) { 0o644 } else { 0o755 };
        tree.insert(path(name), Node::new(kind, mode)).unwrap();
        stated.insert(path(name));
    }
    let implied = tree.iter().map(|(path, _)| path.clone()).filter(|path| !stated.contains(path)).collect();
    Layer { tree, implied }
}

fn flatten(layers: &[&[&str]]) -> Result<Tree, Error> {
    let mut stack = Stack::new();
    for entries in layers {
        stack.lay(&layer(entries))?;
    }
    stack.into_tree()
}

#[test]
fn later_layers_replace_and_white_out_earlier_ones() {
    let rows: &[Row<'_>] = &[
        ("replace", &[&["a=1", "b=1"], &["a=2"]], &["a=2", "b=1"]),
        ("white out a file", &[&["d/a=1", "d/b=1"], &["d/.wh.a="]], &["d/b=1"]),
        ("white out a directory", &[&["d/e/a=1"], &["d/.wh.e="]], &["d"]),
        ("white out what is not there", &[&["a=1"], &[".wh.b="]], &["a=1"]),
        ("only lower layers", &[&["d/a=1"], &["d/.wh.a=", "d/a=2"]], &["d/a=2"]),
        ("opaque", &[&["d/a=1", "d/e/b=1"], &["d/.wh..wh..opq=", "d/c=2"]], &["d/c=2"]),
        ("opaque root", &[&["a=1", "d/b=1"], &[".wh..wh..opq=", "c=2"]], &["c=2"]),
        ("AUFS' own", &[&["a=1"], &[".wh..wh.plnk/x=", ".wh..wh.aufs="]], &["a=1"]),
        ("an empty name", &[&["d/a=1"], &["d/.wh.="]], &["d/a=1"]),
        ("a file for a directory", &[&["d/a=1"], &["d=2"]], &["d=2"]),
        ("a directory for a file", &[&["d=1"], &["d", "d/a=2"]], &["d/a=2"]),
        ("a whiteout and what it whites out, anew", &[&["d/a=1", "d/b=1"], &[".wh.d=", "d/c=2"]], &["d/c=2"]),
        ("a whiteout below one", &[&["d/a=1"], &[".wh.d=", "d/.wh.a="]], &[]),
        (
            "into a link",
            &[&["usr/lib/a=1", "lib@usr/lib"], &["lib/b=2"]],
            &["usr/lib/a=1", "usr/lib/b=2", "lib@usr/lib"],
        ),
        (
            "into a link to the root",
            &[&["a/b/c=1", "a/l@/a/b"], &["a/l/d=2"]],
            &["a/b/c=1", "a/b/d=2", "a/l@/a/b"],
        ),
        (
            "into a link out of the root",
            &[&["a=1", "l@../../.."], &["l/etc/b=2"]],
            &["a=1", "etc/b=2", "l@../../.."],
        ),
        ("into a link to nowhere", &[&["l@a/b"], &["l/c=2"]], &["l@a/b", "a/b/c=2"]),
        (
            "a directory for a link",
            &[&["usr/lib/a=1", "lib@usr/lib"], &["lib", "lib/b=2"]],
            &["usr/lib/a=1", "lib/b=2"],
        ),
        (
            "a whiteout behind a link",
            &[&["usr/lib/a=1", "lib@usr/lib"], &["lib/.wh.a="]],
            &["usr/lib", "lib@usr/lib"],
        ),
        ("opaque behind a link", &[&["d/a=1", "l@d"], &["l/.wh..wh..opq="]], &["d", "l@d"]),
        ("a whiteout of a link", &[&["d/a=1", "l@d"], &[".wh.l="]], &["d/a=1"]),
        ("back again", &[&["a=1"], &[".wh.a="], &["a=3"]], &["a=3"]),
    ];
    for (what, layers, wanted) in rows {
        assert_eq!(flatten(layers).unwrap(), tree(wanted), "{what}");
    }
}

#[test]
fn a_file_stays_with_the_links_that_are_left() {
    let rows: &[Row<'_>] = &[
        ("all stay", &[&["b=1", "a>b", "c>b"]], &["a=1", "b>a", "c>a"]),
        ("holder replaced", &[&["a=1", "b>a", "c>a"], &["a=2"]], &["a=2", "b=1", "c>b"]),
        ("holder whited out", &[&["a=1", "b>a"], &[".wh.a="]], &["b=1"]),
        ("holder's directory whited out", &[&["d/a=1", "b>d/a"], &[".wh.d="]], &["b=1"]),
        ("link replaced", &[&["a=1", "b>a"], &["b=2"]], &["a=1", "b=2"]),
    ];
    for (what, layers, wanted) in rows {
        assert_eq!(flatten(layers).unwrap(), tree(wanted), "{what}");
    }
}

#[test]
fn a_link_may_lead_to_a_file_of_a_lower_layer() {
    let rows: &[Row<'_>] = &[
        ("linked", &[&["a=1"], &["b>a"]], &["a=1", "b>a"]),
        ("twice", &[&["a=1"], &["b>a", "c>a"]], &["a=1", "b>a", "c>a"]),
        ("two layers down", &[&["a=1"], &["x=1"], &["b>a"]], &["a=1", "b>a", "x=1"]),
        ("renamed", &[&["a=1"], &[".wh.a=", "b>a"]], &["b=1"]),
        ("out of a directory that goes", &[&["d/a=1"], &[".wh.d=", "b>d/a"]], &["b=1"]),
        ("then the file is whited out", &[&["a=1"], &["b>a"], &[".wh.a="]], &["b=1"]),
        ("then the file is replaced", &[&["a=1"], &["b>a"], &["a=2"]], &["a=2", "b=1"]),
        ("over a symbolic link", &[&["d/a=1", "l@/d"], &["b>l/a"]], &["d/a=1", "b=1", "l@/d"]),
    ];
    for (what, layers, wanted) in &rows[..7] {
        assert_eq!(flatten(layers).unwrap(), tree(wanted), "{what}");
    }
    let found = flatten(rows[7].1).unwrap();
    assert_eq!(found.content("b"), found.content("d/a"));
    for layers in [
        &[&["a=1"][..], &["b>c"]][..],
        &[&["a=1"], &["b>a/c"]],
        &[&["d/a=1"], &["b>d"]],
        &[&["a=1"], &[".wh.a="], &["b>a"]],
    ] {
        let error = flatten(layers).unwrap_err();
        assert!(matches!(error, Error::HardLink { .. } | Error::Tree(_)), "{error}");
    }
}

#[test]
fn what_a_layer_does_not_state_stays_as_it_is() {
    let mut lower = tree(&["d/a=1"]);
    let directory = lower.get_mut(&path("d")).unwrap();
    directory.mode = 0o700;
    directory.xattrs.insert("security.selinux".into(), b"label".to_vec());
    lower.get_mut(&TreePath::root()).unwrap().mode = 0o711;
    let mut stack = Stack::new();
    stack.lay(&Layer { tree: lower.clone(), implied: BTreeSet::new() }).unwrap();
    stack.lay(&layer(&["d/b=2"])).unwrap();
    lower.file("d/b", b"2".to_vec(), 0o644).unwrap();
    assert_eq!(stack.into_tree().unwrap(), lower);
}

#[test]
fn hostile_layers_are_refused_with_a_reason() {
    let rows: &[(&[&[&str]], &str)] = &[
        (&[&["d/.wh...="]], "not a path"),
        (&[&["d/.wh..="]], "not a path"),
        (&[&["a=1"], &[".wh..="]], "not a path"),
        (&[&["a=1"], &[".wh...="]], "not a path"),
        (&[&["d=1"], &["d/a=2"]], "`d/a` lies below `d`"),
        (&[&["d=1", "l@d"], &["l/a=2"]], "`l/a` lies below `d`"),
        (&[&["l@.wh.a"], &["l/a=2"]], "not a path"),
        (&[&["l@l"], &["l/a=2"]], "symbolic links"),
        (&[&["l@m", "m@l"], &["l/a=2"]], "symbolic links"),
        (&[&["l@m/x", "m@l/x"], &["l/a=2"]], "symbolic links"),
        (&[&["d/a=1", "l@d"], &["d/a=2", "l/a=3"]], "another entry"),
        (&[&["d/a=1", "l@d", "m@d"], &["l/a=2", "m/a=3"]], "another entry"),
    ];
    for (layers, reason) in rows {
        let error = flatten(layers).unwrap_err().to_string();
        assert!(error.contains(reason), "{error} for {layers:?}");
    }
}

#[test]
fn many_small_layers_are_bounded_as_one_is() {
    let mut half = Tree::new();
    for i in 0..ENTRIES_MAX / 2 {
        half.insert(path(&i.to_string()), Node::new(Kind::Directory, 0o755)).unwrap();
    }
    let half = Layer { tree: half, implied: BTreeSet::new() };
    let mut stack = Stack::new();
    stack.lay(&half).unwrap();
    stack.lay(&half).unwrap();
    assert!(matches!(stack.lay(&layer(&["a=1"])), Err(Error::TooManyEntries { .. })));

    let mut node = Node::new(Kind::Directory, 0o755);
    node.xattrs.insert("user.x".into(), vec![0; 200 << 20]);
    let mut long = Tree::new();
    long.insert(path("d"), node).unwrap();
    let long = Layer { tree: long, implied: BTreeSet::new() };
    let mut stack = Stack::new();
    stack.lay(&long).unwrap();
    stack.lay(&long).unwrap();
    assert!(matches!(stack.lay(&long), Err(Error::TooMuchText { .. })));
}
