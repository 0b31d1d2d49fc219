//! iPXE scripts: how a machine boots over the network.
//!
//! ```text
//! #!ipxe
//!
//! imgfree
//! kernel <base>/image/<schematic>/<version>/kernel-<arch> <command line>
//! initrd <base>/image/<schematic>/<version>/initramfs-<arch>.xz
//! boot
//! ```
//!
//! Source: the reference's scripts, byte for byte; iPXE `core/exec.c` and `core/settings.c` for what a script means.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use extent::{ExtentMap, read_all};
use imager::{Asset, Factory, Version};
use schematics::SchematicId;

use crate::cache;
use crate::error::Error;
use crate::metrics::{Metrics, Stage};
use crate::openapi::Refused;
use crate::precondition::ETag;
use crate::representation::Representation;
use crate::schematic;
use crate::site::Site;

/// The longest command line that a script carries in bytes: four times what the kernel reads of it.
///
/// Source: Linux `COMMAND_LINE_SIZE`, which is 2048 on x86 and arm64.
const COMMAND_LINE_LEN_MAX: u64 = 8192;

/// The iPXE script that boots a machine of the schematic.
#[utoipa::path(
    get,
    path = "/pxe/{schematic}/{version}/{path}",
    params(
        ("schematic" = String, Path, pattern = "^[0-9a-f]{64}$", description = "The id of a schematic."),
        ("version" = String, Path, pattern = r"^v?(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})(-[0-9A-Za-z.-]{1,64})?$", description = "A version, with or without `v`."),
        ("path" = String, Path, description = "The platform and architecture, as `metal-amd64`; `-secureboot` behind it for the signed image."),
    ),
    responses((status = 200, description = "The script.", content_type = "text/plain", body = String), Refused),
)]
pub async fn script(
    State(factory): State<Factory>,
    State(metrics): State<Metrics>,
    State(site): State<Arc<Site>>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Path((id, version, path)) = path?;
    let schematic = schematic::find(&factory, &metrics, &id).await?;
    let version: Version = version.parse()?;
    let asset: Asset = format!("cmdline-{path}").parse()?;
    let resolved = metrics.timed(Stage::Resolve, factory.resolve(&schematic, &version, &asset)).await?;
    let planning = metrics.timed(Stage::Plan, factory.planning(resolved)).await?;
    let map = &planning.planned.artifact.extents;
    let command_line = read_all(map, factory.store(), COMMAND_LINE_LEN_MAX).map_err(|_| {
        Error::bad_request(format!("the command line has more than {COMMAND_LINE_LEN_MAX} bytes"))
    })?;
    let command_line =
        String::from_utf8(command_line).map_err(|_| Error::bad_request("the command line is not UTF-8"))?;
    let text = print(&site.external_pxe_url, schematic.id(), &version, asset, &command_line)?;
    let map = ExtentMap::inline(text.into_bytes());
    let representation = Representation {
        etag: ETag::of(map.id()),
        map,
        media_type: "text/plain; charset=utf-8",
        disposition: None,
        cache_control: cache::CATALOGUE,
    };
    representation.answer(&method, &headers).stream(factory.store(), &method).await
}

fn print(
    base: &str,
    id: SchematicId,
    version: &Version,
    asset: Asset,
    command_line: &str,
) -> Result<String, Error> {
    check(command_line)?;
    let (arch, platform) = (asset.arch(), asset.platform());
    let image = format!("{base}/image/{id}/{version}");
    Ok(if asset.is_secure_boot() {
        format!(
            "#!ipxe\n\nimgfree\nkernel {image}/{platform}-{arch}-secureboot-uki.efi {command_line}\nboot\n"
        )
    } else {
        format!(
            "#!ipxe\n\nimgfree\nkernel {image}/kernel-{arch} {command_line}\n\
             initrd {image}/initramfs-{arch}.xz\nboot\n"
        )
    })
}

/// Refuses what a script cannot carry: iPXE has no way to quote, so what it would take for its own is said to be so
/// rather than changed on the way.
fn check(command_line: &str) -> Result<(), Error> {
    let refuse = |what: &str| {
        Err(Error::bad_request(format!(
            "the kernel arguments have {what}: iPXE would not pass it on; boot the UKI instead, which carries them inside"
        )))
    };
    if command_line.chars().any(char::is_control) {
        return refuse("a control character");
    }
    // Expanded wherever it stands, again after each expansion.
    if command_line.contains("${") {
        return refuse("`${`");
    }
    for word in command_line.split_ascii_whitespace() {
        if matches!(word, "||" | "&&" | ";") {
            return refuse(&format!("the word `{word}`"));
        }
        if word.starts_with('#') {
            return refuse("a word that begins with `#`");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_the_references() {
        let id: SchematicId =
            "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba".parse().unwrap();
        let version: Version = "1.11.0".parse().unwrap();
        let script = |path: &str| {
            let asset: Asset = format!("cmdline-{path}").parse().unwrap();
            print("https://pxe.example", id, &version, asset, "a=b c").unwrap()
        };
        let image = format!("https://pxe.example/image/{id}/v1.11.0");
        let plain = format!(
            "#!ipxe\n\nimgfree\nkernel {image}/kernel-amd64 a=b c\ninitrd {image}/initramfs-amd64.xz\nboot\n"
        );
        for path in ["metal-amd64", "metal-x86_64", "metal-i386", "equinixMetal-amd64"] {
            assert_eq!(script(path), plain, "{path}");
        }
        assert_eq!(
            script("metal-arm64-secureboot"),
            format!("#!ipxe\n\nimgfree\nkernel {image}/metal-arm64-secureboot-uki.efi a=b c\nboot\n")
        );
    }

    #[test]
    fn what_ipxe_would_take_for_its_own_is_refused() {
        for line in ["a ${net0/ip}", "a || shell", "a && b", "a ; b", "a #b", "a\nshell", "a\rb", "a\u{7f}"] {
            assert!(check(line).is_err(), "{line:?}");
        }
        for line in ["a=b;c", "a=#b", "a||b", "a=$b", "a={b}", "dyndbg=\"file x +p\"", "a=é"] {
            assert!(check(line).is_ok(), "{line:?}");
        }
    }
}
