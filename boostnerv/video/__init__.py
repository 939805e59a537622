"""From a source to frames: data sets, decoding through ffmpeg, and the frames file that the rest of the package reads.

`datasets` obtains sources, `source` opens them (`video_file` for video files, `images` for folders), `info` describes
their properties and the geometry of a preparation, `frames` writes and reads the prepared frames.
"""
