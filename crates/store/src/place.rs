//! Where a store is, if nobody says.
//!
//! Source: XDG base directory specification 0.8, `$XDG_DATA_HOME`.

use std::ffi::OsString;
use std::path::PathBuf;

/// The variable that says where the store is.
pub const VARIABLE: &str = "IMAGER_STORE";

/// The directory of the store by the environment: `$IMAGER_STORE`, else `imager/store` in the user's data directory.
/// None where there is neither that variable nor a home.
pub fn default_dir() -> Option<PathBuf> {
    default_dir_by(|name| std::env::var_os(name))
}

fn default_dir_by(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The specification has relative paths ignored.
    let absolute = |name| path(name).filter(|path| path.is_absolute());
    path(VARIABLE).or_else(|| {
        let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))?;
        Some(data.join("imager/store"))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_variable_wins_over_the_data_directory_over_the_home() {
        type Variables = &'static [(&'static str, &'static str)];
        let table: &[(Variables, Option<&str>)] = &[
            (&[("IMAGER_STORE", "here"), ("XDG_DATA_HOME", "/data"), ("HOME", "/home/a")], Some("here")),
            (
                &[("IMAGER_STORE", ""), ("XDG_DATA_HOME", "/data"), ("HOME", "/home/a")],
                Some("/data/imager/store"),
            ),
            (&[("XDG_DATA_HOME", "data"), ("HOME", "/home/a")], Some("/home/a/.local/share/imager/store")),
            (&[("HOME", "/home/a")], Some("/home/a/.local/share/imager/store")),
            (&[("HOME", "")], None),
            (&[], None),
        ];
        for (variables, expected) in table {
            let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
            assert_eq!(default_dir_by(find).as_deref(), expected.map(Path::new), "{variables:?}");
        }
    }
}
