//! Makes the folder that the page is embedded from, so that the crate builds before `npm run build` ever ran, and builds
//! again when the page changed.

fn main() {
    let dist = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web/dist");
    if let Err(error) = std::fs::create_dir_all(&dist) {
        println!("cargo::warning=could not make {}: {error}", dist.display());
    }
    println!("cargo::rerun-if-changed=web/dist");
}
