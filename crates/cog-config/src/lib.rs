//! cog.yaml: found, parsed, validated.
