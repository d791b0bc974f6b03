//! The binary `openconnect-mesh`.

/// musl's own is slow where one thread frees what another has allocated, as here.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    openconnect_mesh::cli::main()
}
