use super::*;

fn version(text: &str) -> Version {
    Version::parse(text).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn the_tables_are_whole() {
    assert_eq!(torch_rows().len(), 96);
    assert_eq!(torch_rows().iter().filter(|row| row.usable).count(), 93);
    assert_eq!(tensorflow_rows().len(), 18);
    assert_eq!(base_images().len(), 83);
    for row in torch_rows() {
        let channel = row.channel.map(str::to_owned);
        assert!(
            channel.is_none() || channel == Some(row.accelerator.tag()),
            "{row:?}"
        );
        assert!(!row.pythons.is_empty(), "{row:?}");
        let offered = row
            .accelerator
            .cuda()
            .is_none_or(|cuda| !cudnns_of_cuda(cuda).is_empty());
        assert_eq!(offered, row.usable, "{row:?}");
    }
}

#[test]
fn every_image_is_known_by_its_tag() {
    let images = include_str!("../../data/cuda_images.csv").lines().skip(1);
    for (line, image) in images.zip(base_images()) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(
            image.to_string(),
            format!(
                "nvidia/cuda:{}-{}-devel-ubuntu{}",
                cells[0], cells[3], cells[2]
            )
        );
    }
}

#[test]
fn cudnn_follows_from_cuda() {
    assert_eq!(cudnns_of_cuda(&version("11.8")), [8]);
    assert_eq!(cudnns_of_cuda(&version("12.4")), [9]);
    assert_eq!(cudnns_of_cuda(&version("12.4.0")), [0; 0]);
    assert_eq!(cudnns_of_cuda(&version("12.7")), [0; 0]);
}

#[test]
fn cuda_follows_from_torch() {
    let cudas = |text: &str| -> Vec<String> {
        cudas_of_torch(&version(text))
            .into_iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(cudas("2.0.1+cu118"), ["11.8"]);
    assert_eq!(cudas("2.0.1"), ["11.7", "11.8"]);
    assert_eq!(cudas("2.9"), ["12.6", "12.8", "13.0"]);
    assert_eq!(cudas("1.11.0"), ["11.3"]);
    assert_eq!(cudas("0.4.1"), [""; 0]);
}

#[test]
fn the_newest_image_of_a_cuda_is_taken() {
    let tags = "11.0→11.0.3/20.04, 11.1→11.1.1/20.04, 11.2→11.2.2/20.04, 11.3→11.3.1/20.04, 11.4→11.4.3/20.04, \
         11.5→11.5.2/20.04, 11.6→11.6.2/20.04, 11.7→11.7.1/22.04, 11.8→11.8.0/22.04, 12.0→12.0.1/22.04, \
         12.1→12.1.1/22.04, 12.2→12.2.2/22.04, 12.3→12.3.2/22.04, 12.4→12.4.1/22.04, 12.5→12.5.1/22.04, \
         12.6→12.6.3/24.04, 12.8→12.8.1/24.04, 12.9→12.9.1/24.04, 13.0→13.0.3/24.04, 13.1→13.1.2/24.04, \
         13.2→13.2.1/24.04";
    for tag in tags.split(", ") {
        let (cuda, rest) = tag.split_once('→').expect("two sides");
        let (full, ubuntu) = rest.split_once('/').expect("two parts");
        let cudnn = cudnns_of_cuda(&version(cuda))[0];
        let image = base_image(&version(cuda), cudnn).expect("an image");
        let token = match (cudnn, cuda) {
            (8, _) => "cudnn8",
            (_, "12.3") => "cudnn9",
            _ => "cudnn",
        };
        assert_eq!(
            image.to_string(),
            format!("nvidia/cuda:{full}-{token}-devel-ubuntu{ubuntu}")
        );
    }
    let exact = base_image(&version("11.6.1"), 8).expect("an image");
    assert_eq!(
        exact.to_string(),
        "nvidia/cuda:11.6.1-cudnn8-devel-ubuntu20.04"
    );
    assert_eq!(base_image(&version("12.3"), 8), None);
}

#[test]
fn index_urls_name_their_cuda() {
    for (url, cuda) in [
        ("https://download.pytorch.org/whl/cu128/", Some("12.8")),
        ("https://download.pytorch.org/whl/cu118", Some("11.8")),
        (
            "https://download.pytorch.org/whl/nightly/cu126",
            Some("12.6"),
        ),
        ("https://download.pytorch.org/whl/cu92", Some("9.2")),
        ("https://download.pytorch.org/whl/cpu", None),
        ("https://download.pytorch.org/whl/rocm6.2/", None),
        ("https://example.com/cuisine/cu", None),
    ] {
        assert_eq!(cuda_of_index(url).as_deref(), cuda, "{url}");
    }
}
