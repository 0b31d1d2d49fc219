//! Dependency closures: which packages make another one work.
//!
//! A walk over `Pre-Depends` and `Depends` in a fixed order, so that the same lists give the same packages
//! everywhere. Not a solver: the first alternative that can be had is taken, and conflicts are not looked
//! at, because the result is a tree of files and not an installation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::index::{Alternative, Dependency, Index, Package};
use crate::Error;

/// Packages that no image carries although others depend on them: they serve the installation, the
/// maintainer scripts and the services of a Debian machine, none of which is there.
pub(crate) const LEFT_OUT: [&str; 10] = [
    "adduser",             // makes accounts when a package is installed
    "base-files",          // the name of the distribution and its directories; the base has its own
    "debconf",             // asks questions when a package is installed
    "debianutils",         // for the maintainer scripts of shells
    "init-system-helpers", // starts services when a package is installed
    "lsb-base",            // functions for init scripts, which are left out
    "python3",             // 30 MB for three statistics scripts of nfs-common
    "sysvinit-utils",      // in place of lsb-base
    "ucf",                 // keeps changed configuration files when a package is upgraded
    "udev",                // a daemon and its rules; the kernel makes the device nodes here
];

/// The packages `roots`, and all that they need and that is not among `have`, in order of their names.
///
/// # Errors
/// `NoPackage` for a root that is not there, `Unsatisfied` for a dependency that nothing satisfies.
pub(crate) fn closure<'a>(
    index: &'a Index,
    roots: &[&str],
    have: &[&'a Package],
) -> Result<Vec<&'a Package>, Error> {
    let have: BTreeMap<&str, &Package> =
        have.iter().map(|package| (package.name.as_str(), *package)).collect();
    let mut chosen: BTreeMap<&str, &Package> = BTreeMap::new();
    let mut open = VecDeque::new();
    for root in roots {
        let package = index.get(root).ok_or_else(|| Error::NoPackage { package: (*root).to_owned() })?;
        if !have.contains_key(*root) && chosen.insert(&package.name, package).is_none() {
            open.push_back(package);
        }
    }
    let left_out: BTreeSet<&str> = LEFT_OUT.into();
    while let Some(package) = open.pop_front() {
        for dependency in package.depends() {
            let is_met = |alternative: &Alternative| {
                left_out.contains(alternative.name.as_str())
                    || candidates(index, alternative).any(|candidate| {
                        have.contains_key(candidate.name.as_str())
                            || chosen.contains_key(candidate.name.as_str())
                    })
            };
            if dependency.0.iter().any(is_met) {
                continue;
            }
            let candidate = dependency
                .0
                .iter()
                .flat_map(|alternative| candidates(index, alternative))
                .find(|candidate| !left_out.contains(candidate.name.as_str()));
            match candidate {
                Some(candidate) => {
                    chosen.insert(&candidate.name, candidate);
                    open.push_back(candidate);
                }
                // All that would do is left out on purpose.
                None if dependency.0.iter().any(|a| candidates(index, a).next().is_some()) => {}
                None => {
                    return Err(Error::Unsatisfied {
                        package: package.spec(),
                        dependency: dependency.to_string(),
                    });
                }
            }
        }
    }
    Ok(chosen.into_values().collect())
}

/// What satisfies `alternative`: the package of that name, then those that provide it.
fn candidates<'a, 'b>(
    index: &'a Index,
    alternative: &'b Alternative,
) -> impl Iterator<Item = &'a Package> + use<'a, 'b> {
    let named = index.get(&alternative.name).into_iter();
    named.chain(index.providers(&alternative.name)).filter(|package| package.satisfies(alternative))
}

impl std::fmt::Display for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, Alternative { name, version }) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { " | " })?;
            f.write_str(name)?;
            if let Some((relation, version)) = version {
                write!(f, " ({relation} {version})")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::tests::index;
    use super::*;

    /// Roots, what is there, and what comes with them or why nothing does.
    type Case<'a> = (&'a [&'a str], &'a [&'a str], Result<&'a [&'a str], &'a str>);

    #[test]
    fn closures_are_what_the_lists_say() {
        let index = index(&[
            "base 1 | libc6",
            "libc6 2.41-12",
            "tool 1 | libc6 (>= 2.38), libx1, adduser, debconf (>= 0.5) / debconf-2.0",
            "libx1 1:3-1 | libc6, liby / libz",
            "liby 1 | libx1",
            "libz 1",
            "debconf 1.5",
            "mail 1 | exim / mta",
            "postfix 1 | libz | mta",
            "agent 1 | mta (>= 2) / libz, virtual",
            "impl-b 1 | | virtual (= 3)",
            "impl-a 1 | | virtual",
            "versioned 1 | virtual (>= 2)",
            "picky 1 | liby (>= 2) / libz (<< 2)",
            "daemon 1 | udev, service",
            "udev 1 | | service",
            "broken 1 | libc6 (>= 3)",
            "dangling 1 | nothing / nobody (= 1)",
        ]);
        let cases: &[Case<'_>] = &[
            (&["base"], &[], Ok(&["base", "libc6"])),
            (&["tool"], &["libc6"], Ok(&["libx1", "liby", "tool"])),
            (&["tool"], &["libc6", "libz"], Ok(&["libx1", "tool"])),
            (&["mail"], &[], Ok(&["libz", "mail", "postfix"])),
            (&["agent"], &[], Ok(&["agent", "impl-a", "libz"])),
            (&["impl-b", "agent"], &["libz"], Ok(&["agent", "impl-b"])),
            (&["versioned"], &[], Ok(&["impl-b", "versioned"])),
            (&["picky"], &[], Ok(&["libz", "picky"])),
            (&["daemon"], &[], Ok(&["daemon"])),
            (&["base", "base"], &["base"], Ok(&[])),
            (
                &["broken"],
                &[],
                Err("package `broken=1` depends on `libc6 (>= 3)`, which no package satisfies"),
            ),
            (
                &["dangling"],
                &[],
                Err("package `dangling=1` depends on `nothing | nobody (= 1)`, which no package satisfies"),
            ),
            (&["absent"], &[], Err("there is no package `absent`")),
        ];
        for (roots, have, expected) in cases {
            let have: Vec<_> = have.iter().map(|name| index.get(name).unwrap()).collect();
            let found = closure(&index, roots, &have);
            let names = found.as_ref().map(|packages| packages.iter().map(|p| p.name.as_str()).collect());
            match (names, expected) {
                (Ok::<Vec<_>, _>(names), Ok(expected)) => assert_eq!(&names, expected, "{roots:?}"),
                (Err(error), Err(expected)) => assert_eq!(&error.to_string(), expected),
                (found, _) => panic!("{roots:?}: {found:?}"),
            }
        }
    }
}
