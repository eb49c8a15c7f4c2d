//! The `knhk` command; everything lives in the library.

/// What one thread asks for another often gives back (a connection's request ends in the shard, the shard's answer in
/// the connection), for which the system's allocator takes locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    knhk::cli::run(std::env::args_os().skip(1).collect())
}
