//go:build race

package powerloss

const raceDetector = true
