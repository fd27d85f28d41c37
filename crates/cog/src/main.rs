//! Entry point; everything is in the library so that the reference pages can be made from the same definitions.

fn main() -> std::process::ExitCode {
    cog::main()
}
