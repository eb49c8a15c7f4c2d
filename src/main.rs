//! The `knhk` command; everything lives in the library.

fn main() -> std::process::ExitCode {
    knhk::cli::run(std::env::args_os().skip(1).collect())
}
