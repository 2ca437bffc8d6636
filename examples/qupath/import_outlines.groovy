/*
 * Put the outlines that `espmedsam segment IMAGES --polygons geojson --output FOLDER` wrote onto the
 * images of a QuPath project.
 *
 * Automate > Script editor, open this file, set `folder`, and Run; Run > Run for project takes
 * all images. Without a window:
 *     QuPath script --project=project.qpproj --save --args=FOLDER import_outlines.groovy
 *
 * Numbered objects become detections and masks annotations, classified by target, with their holes.
 * A second run replaces what the first has added, and nothing else. Needs QuPath 0.5 or newer.
 */
import qupath.lib.io.PathIO

// The folder of --output. By default: `masks` in the project's folder.
def folder = binding.hasVariable("args") && args ? new File(args[0]) : new File(buildFilePath(PROJECT_BASE_DIR, "masks"))

def server = getCurrentServer()
def image = getProjectEntry()?.getImageName() ?: server.getMetadata().getName()
def stem = image.replaceFirst(/\.[^.]+$/, "")
def file = new File(folder, stem + "_polygons.geojson")
if (!file.isFile()) {
    println "${image}: there is no ${file}; the image stays as it is."
    return
}

def objects = PathIO.readObjects(file)
def outside = objects.findAll {
    def roi = it.getROI()
    roi.getBoundsX() + roi.getBoundsWidth() > server.getWidth() || roi.getBoundsY() + roi.getBoundsHeight() > server.getHeight()
}
if (outside) {
    println "${image}: ${outside.size()} of ${objects.size()} outlines lie outside of its ${server.getWidth()} x ${server.getHeight()} pixels, so ${file} is of another image; nothing was added."
    return
}

def origin = "espmedsam"
removeObjects(getAllObjects(false).findAll { it.getMetadata()["from"] == origin }, true)
objects.each { it.getMetadata()["from"] = origin }
addObjects(objects)
println "${image}: added ${objects.size()} objects (${objects.collect { it.getPathClass().toString() }.unique().join(", ")})."
