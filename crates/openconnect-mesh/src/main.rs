//! The binary `openconnect-mesh`.

fn main() -> std::process::ExitCode {
    openconnect_mesh::cli::main()
}
